"""The results of the analysis. They are kept apart from the traced graph, which never changes."""

import keras
import numpy as np

from keras_sparse.surgery.rules import rule_for
from keras_sparse.surgery.units import Call, Scope, Unit, Value, weights_by_name


class Findings:
    """The values, calls and units of a graph, each with the results of an analysis.

    Args:
        graph: a `Graph`; it is not changed.
        rules: `{unit of the graph: Rule}`; replaces the rules of these units.

    Attributes:
        graph: as given.
        inputs, outputs: lists of `FollowedValue`.
        calls: list of `Call` between `FollowedValue`s.
        units: list of `FollowedUnit`.
        scopes: list of `Scope`, with these calls.
        values: all `FollowedValue`s, in topological order.
    """

    def __init__(self, graph, rules=None):
        self.graph = graph
        self.calls = []
        self._values, units, calls = {}, {}, {}
        self.inputs = [self._follow(value) for value in graph.inputs]
        for traced in graph.calls:
            call = calls[traced] = self._called(traced, units)
            call.outputs = [self._follow(value, call) for value in traced.outputs]
            for value in dict.fromkeys(call.inputs + call.outputs):
                value.units.append(call.unit)
            self.calls.append(call)
        self.outputs = [self._values[value] for value in graph.outputs]
        self.scopes = [self._scope(scope, calls, units) for scope in graph.scopes]
        self.units = [units[unit] for unit in graph.units]
        self.values = list(self._values.values())
        for unit in self.units:
            unit.rule = (rules or {}).get(unit.traced) or rule_for(unit)

    def _follow(self, value, producer=None):
        self._values[value] = FollowedValue(value, producer)
        return self._values[value]

    def _called(self, traced, units):
        if traced.unit not in units:
            units[traced.unit] = FollowedUnit(traced.unit)
        call = Call(traced.operation, *traced.arguments(self._values.__getitem__))
        call.masked, call.takes_masks = traced.masked, traced.takes_masks
        call.unit = units[traced.unit]
        call.unit.calls.append(call)
        return call

    def _scope(self, scope, calls, units):
        call = self._called(scope.call, units)
        call.outputs = [self._values[value] for value in scope.call.outputs]
        return Scope(call, [calls[inner] for inner in scope.inner], scope.opened)

    @property
    def rules(self):
        """`{unit of the graph: its Rule}`."""
        return {unit.traced: unit.rule for unit in self.units}


class FollowedValue(Value):
    """A value of the graph, and the results for its channels.

    Attributes:
        traced: the `Value` of the graph.
        units: the `FollowedUnit`s that produce or read it.
        axis: negative index of the channel axis that is followed. None if there is none; the tensor
            is then kept or removed as a whole, as one channel.
        constants: `Constants` of its channels.
        keep: boolean array, which channels are needed. It only grows.
        why: for each kept channel, a string with the reason why it is needed.
    """

    __slots__ = ("axis", "constants", "keep", "traced", "units", "why")

    def __init__(self, traced, producer=None):
        super().__init__(traced, producer)
        self.traced = traced
        self.units = []
        self.axis = None

    def follow(self, axis, constants):
        """Sets the channel axis and the constants; nothing is needed yet."""
        self.axis = axis
        self.constants = constants
        channels = constants.values.shape[1]
        self.keep = np.zeros(channels, bool)
        self.why = np.full(channels, "", object)


class FollowedUnit(Unit):
    """A unit of the graph, and the results for it.

    Attributes:
        traced: the `Unit` of the graph.
        rule: its `Rule`; None for a layer of layers that was replaced by the calls inside it.
        inputs, outputs: lists of `Port`.
        notes: dict in which the rule caches results.
        arrays: `{name: array}` of the weights that have been read.
    """

    def __init__(self, traced):
        super().__init__(traced.operation, traced.name, traced.index)
        self.closed = traced.closed
        self.traced = traced
        self.rule = None
        self.inputs = []
        self.outputs = []
        self.notes = {}
        self.arrays = {}

    def array(self, name):
        """The weight with this name as a NumPy array, read once; None if there is none."""
        if name not in self.arrays:
            variable = weights_by_name(self.operation).get(name)
            self.arrays[name] = None if variable is None else keras.ops.convert_to_numpy(variable)
        return self.arrays[name]

    @property
    def alive(self):
        """Whether any output channel of this unit is needed."""
        return any(port.keep.any() for port in self.outputs)
