"""Which channels are constant, and which are needed: constants forward, needs backward."""

import heapq
import itertools

import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules import Unsupported, rule_for
from keras_sparse.surgery.rules.base import default_axis, default_size, failed

_KEPT_WITH = "kept with "


class Port:
    """One input or output of a unit, over all the unit's calls."""

    def __init__(self, values, analysis, unit, output):
        self.values = values
        self.unit = unit
        self._analysis = analysis
        self._output = output
        self.constants = _common([value.constants for value in values])
        # Whether the rule reads another axis than the one that is followed.
        self.read_across = False

    @property
    def axis(self):
        """The axis that is followed, None if there is none or the calls disagree."""
        axes = {value.axis for value in self.values}
        return axes.pop() if len(axes) == 1 else None

    @property
    def shape(self):
        """Shape of the tensor in the first call."""
        return self.values[0].shape

    @property
    def size(self):
        """Number of channels."""
        return len(self.values[0].keep)

    @property
    def keep(self):
        """Which channels are needed."""
        return self.values[0].keep

    @property
    def kept(self):
        """Indices of the channels that are needed."""
        return np.flatnonzero(self.keep)

    @property
    def why(self):
        """For each needed channel, who needs it."""
        return self.values[0].why

    @property
    def whole(self):
        """Whether the rule sees all channels as one."""
        return False

    def need(self, channels, reason):
        """Marks channels as needed; `reason` is a string, or an array with one for each channel.

        An array holds the reasons of another port. What needs an input does not need the output:
        the two are coupled, and the reason says so.
        """
        if self._output and not isinstance(reason, str):
            reason = kept_with(reason, f"the input of {self.unit.name}")
        for value in self.values:
            if len(value.keep) == len(channels):
                self._analysis.need(value, channels, self._at(value, reason))
            elif channels.any():
                everything, rule = np.ones(len(value.keep), bool), self.unit.rule
                why = "a shared layer reads different widths"
                if isinstance(rule, Unsupported):
                    why = f"{self.unit.name}: {rule.reason}"
                self._analysis.need(value, everything, why)

    def _at(self, value, reason):
        """The reason in one call: a channel may be constant there and not in the others."""
        if len(self.values) == 1 or value.constants.known.shape != self.constants.known.shape:
            return reason
        differs = value.constants.known & ~self.constants.known
        return np.where(differs, f"{self.unit.name}: not one constant in all its calls", reason)

    def need_all(self, reason):
        """Marks every channel as needed."""
        self.need(np.ones(self.size, bool), reason)

    def on(self, axis):
        """This port with its channels on `axis`; if others are followed, all of them stay."""
        size = self.shape[axis]
        sizes = {value.shape[axis] for value in self.values}
        if self.axis == axis and len(sizes) == 1:
            return self
        self.read_across = True
        return WholePort(self, size)


class WholePort:
    """A port whose followed axis is not the one a layer reads: all of it is needed."""

    whole = True

    def __init__(self, port, size):
        self._port = port
        self.shape = port.shape
        self.size = size
        self.keep = np.ones(size, bool)
        self.kept = np.arange(size)
        self.constants = Constants.unknown(size)
        self.why = np.full(size, "", object)

    def need(self, channels, reason):
        """Any need is a need of the whole tensor."""
        if np.any(channels):
            self._port.need_all(reason if isinstance(reason, str) else "is read along another axis")

    def need_all(self, reason):
        """Marks the whole tensor as needed."""
        self._port.need_all(reason)


def kept_with(reasons, what):
    """The reasons of a channel, as those of another that stays with it."""
    new = [f"{_KEPT_WITH}{what}: {text}" if text else "" for text in reasons]
    return np.where(
        [text.startswith(_KEPT_WITH) for text in reasons], reasons, np.array(new, object)
    )


def _common(constants):
    """What holds at every call of a shared layer."""
    if len(constants) == 1:
        return constants[0]
    if len({c.values.shape[1] for c in constants}) > 1:
        return Constants.unknown(constants[0].values.shape[1])
    if len({c.profile for c in constants}) > 1:
        constants = [c.flattened() for c in constants]
    values = constants[0].values.copy()
    for other in constants[1:]:
        values[:, (other.values != values).any(0)] = np.nan
    return Constants(values, constants[0].profile)


class RuleError(Exception):
    """A rule raised an error."""

    def __init__(self, unit, error):
        super().__init__(unit.name)
        self.unit = unit
        self.error = error


class Analysis:
    """Runs the rules over a graph until nothing more is needed.

    `keep` starts empty and only grows, so the result is the least set of channels that the rules
    allow. Dead outputs, channels that nothing reads and coupled channels are found in the same way.

    Args:
        graph: a `Graph`.
        channel_multiple: int or None; widths are rounded up to a multiple of it.
        rules: function from a `Unit` to its rule.
    """

    def __init__(self, graph, channel_multiple=None, rules=rule_for):
        self.graph = graph
        self._multiple = channel_multiple
        for unit in graph.units:
            unit.rule = rules(unit)
        while not self._run():
            pass

    def _run(self):
        """Run the analysis; False if a rule failed and was replaced."""
        self._queue, self._queued, self._total = [], set(), None
        try:
            self._forward()
            self._connect()
            self._backward()
            self._try_couplings()
        except RuleError as failure:
            failure.unit.rule = failed(failure.unit, failure.error)
            for unit in self.graph.units:
                unit.notes.clear()
            return False
        return True

    def _ask(self, unit, question, argument):
        """Call a method of the unit's rule."""
        try:
            return getattr(unit.rule, question)(argument)
        except Exception as error:
            if isinstance(unit.rule, Unsupported):
                raise
            raise RuleError(unit, error) from error

    def _forward(self):
        for value in self.graph.inputs:
            value.follow(default_axis(value), Constants.unknown(default_size(value)))
        for call in self.graph.calls:
            results = self._ask(call.unit, "forward", call)
            for value, (axis, constants) in zip(call.outputs, results, strict=True):
                value.follow(axis, constants)

    def _connect(self):
        for unit in self.graph.units:
            unit.inputs = self._ports(unit, [call.inputs for call in unit.calls], output=False)
            unit.outputs = self._ports(unit, [call.outputs for call in unit.calls], output=True)

    def _ports(self, unit, rows, output):
        columns = [[v for v in column if v is not None] for column in itertools.zip_longest(*rows)]
        return [Port(values, self, unit, output) for values in columns]

    def _backward(self):
        for value in self.graph.inputs:
            self.need(value, np.ones(len(value.keep), bool), "input of the model")
        for value in self.graph.outputs:
            self.need(value, np.ones(len(value.keep), bool), "output of the model")
        self._resolve()
        if self._multiple:
            for unit in reversed(self.graph.units):
                self._round_up(unit)
            self._resolve()

    def need(self, value, channels, reason):
        """Marks more channels of a value as needed, and queues every unit that it affects."""
        new = channels & ~value.keep
        if not new.any():
            return
        value.keep |= new
        value.why[new] = reason if isinstance(reason, str) else reason[new]
        for unit in value.units:
            if unit.index not in self._queued:
                self._queued.add(unit.index)
                heapq.heappush(self._queue, (-unit.index, unit))

    def _try_couplings(self):
        """Calls what reports and groups will call, so that a rule that fails there is replaced."""
        for call in self.graph.calls:
            self._ask(call.unit, "coupled_channels", call)
            self._ask(call.unit, "removed_together", call)
        for unit in self.graph.units:
            self._ask(unit, "inner_channels", unit)

    def _drain(self):
        while self._queue:
            _, unit = heapq.heappop(self._queue)
            self._queued.discard(unit.index)
            if len(unit.calls) > 1:
                _equalise(unit)
            self._ask(unit, "needs", unit)
            self._keep_positions(unit)
            if unit.rule.arity is not None and unit.alive:
                for port in unit.inputs[unit.rule.arity :]:
                    port.need_all(f"argument of {unit.name}")

    def _keep_positions(self, unit):
        """Keeps an input whole that is read on another axis, even where nothing is read of it.

        What is followed are positions then, and the output has as many of them.
        """
        if unit.alive:
            for port in unit.inputs:
                if port.read_across:
                    port.need_all(f"{unit.name} reads another axis")

    def _resolve(self):
        """Drains the queue and lets the rules resolve choices, until nothing changes."""
        self._drain()
        while True:
            for unit in reversed(self.graph.units):
                if unit.alive:
                    self._ask(unit, "resolve", unit)
                    self._keep_one(unit)
                    self._drain()
            if not self._grew():
                return

    def _grew(self):
        total = sum(int(v.keep.sum()) for call in self.graph.calls for v in call.outputs)
        before, self._total = self._total, total
        return total != before

    def _keep_one(self, unit):
        """Keras has no layer with zero channels, so something must go in."""
        optional = self._ask(unit, "optional_inputs", unit)
        for i, port in enumerate(unit.inputs):
            if i not in optional and not port.keep.any():
                one = np.zeros(port.size, bool)
                one[np.argmax(np.abs(np.nan_to_num(port.constants.values)).max(0))] = True
                port.need(one, f"{unit.name} needs one channel")

    def _round_up(self, unit):
        if not getattr(unit.operation, "weights", None):
            return
        for port in unit.outputs:
            missing = -len(port.kept) % self._multiple
            if port.axis is not None and port.keep.any() and missing:
                extra = np.zeros(port.size, bool)
                extra[np.flatnonzero(~port.keep)[:missing]] = True
                port.need(extra, f"width rounded up to a multiple of {self._multiple}")
                self._drain()


def _equalise(unit):
    """The calls of a shared layer need the union of what each of them needs."""
    for port in unit.inputs + unit.outputs:
        for value in port.values:
            port.need(value.keep, kept_with(value.why, f"another call of {unit.name}"))
