"""What the analysis finds, beside the graph, which stays as it was traced."""

import keras
import numpy as np

from keras_sparse.surgery.rules import rule_for
from keras_sparse.surgery.units import Call, Scope, Unit, Value, weights_by_name


class Findings:
    """A graph with what an analysis finds: the same parts, each with the results for it.

    Args:
        graph: a `Graph`; it is not changed.
        rules: `{unit of the graph: Rule}` for the units that are not to have their own rules.

    Attributes:
        graph: as given.
        inputs, outputs: lists of `FollowedValue`.
        calls: list of `FollowedCall`.
        units: list of `FollowedUnit`.
        scopes: list of `Scope`, whose calls are `FollowedCall`s.
        values: all `FollowedValue`s, each after those that it is computed from.
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
        call.masked = traced.masked
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
    """A value of the graph, and what is known of its channels.

    Attributes:
        traced: the `Value` of the graph.
        units: the `FollowedUnit`s that produce or read it.
        axis: negative index of the axis whose channels are followed; None if there is none, then
            the tensor is kept or dropped whole, as one channel.
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
    """A unit of the graph, and what is known of it.

    Attributes:
        traced: the `Unit` of the graph.
        rule: its `Rule`; None for a layer of layers that is seen as the calls inside it.
        inputs, outputs: lists of `Port`.
        notes: dict in which the rule keeps what it would compute again.
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
        """A weight of the layer as a NumPy array, read once; None if there is none so named."""
        if name not in self.arrays:
            variable = weights_by_name(self.operation).get(name)
            self.arrays[name] = None if variable is None else keras.ops.convert_to_numpy(variable)
        return self.arrays[name]

    @property
    def alive(self):
        """Whether anything that is kept needs an output of this unit."""
        return any(port.keep.any() for port in self.outputs)
