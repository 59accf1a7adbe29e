"""Finds constant channels in a forward pass, and needed channels in a backward pass."""

import heapq
import itertools

import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.findings import Findings
from keras_sparse.surgery.ports import Port, kept_with
from keras_sparse.surgery.rules import Unsupported
from keras_sparse.surgery.rules.base import default_axis, default_size, failed


def analyse(graph, rules=None, channel_multiple=None):
    """Finds which channels of a graph are constant, and which are needed.

    `keep` starts empty and only grows, so the result is the smallest set of channels that the rules
    allow. Dead outputs, channels that nothing reads and coupled channels are found in the same way.

    Args:
        graph: a `Graph`; it is not changed.
        rules: `{unit: Rule}`; replaces the rules of these units.
        channel_multiple: int or None; widths are rounded up to a multiple of it.

    Returns:
        The `Findings`. If a rule raised an error, its unit has the rule `Unsupported` there.
    """
    while True:
        findings = Findings(graph, rules)
        try:
            Analysis(findings, channel_multiple).run()
            return findings
        except RuleError as failure:
            rules = failure.rules(findings)


class RuleError(Exception):
    """A rule raised an error."""

    def __init__(self, unit, error):
        super().__init__(unit.name)
        self.unit = unit
        self.error = error

    def rules(self, findings):
        """The rules of all units, with the failed rule replaced."""
        return {**findings.rules, self.unit.traced: failed(self.unit, self.error)}


class Analysis:
    """Runs the rules over a graph until no further channel becomes needed.

    Args:
        findings: the `Findings` to fill.
        channel_multiple: as in `analyse`.
    """

    def __init__(self, findings, channel_multiple=None):
        self._findings = findings
        self._multiple = channel_multiple
        self._queue, self._queued, self._total = [], set(), None

    def run(self):
        """Fills the findings; raises a `RuleError` if a rule fails."""
        self._forward()
        self._connect()
        self._backward()
        self._try_couplings()

    def _ask(self, unit, question, argument):
        """Calls a method of the unit's rule."""
        try:
            return getattr(unit.rule, question)(argument)
        except Exception as error:
            if isinstance(unit.rule, Unsupported):
                raise
            raise RuleError(unit, error) from error

    def _forward(self):
        for value in self._findings.inputs:
            value.follow(default_axis(value), Constants.unknown(default_size(value)))
        for call in self._findings.calls:
            results = self._ask(call.unit, "forward", call)
            for value, (axis, constants) in zip(call.outputs, results, strict=True):
                value.follow(axis, constants)

    def _connect(self):
        for unit in self._findings.units:
            unit.inputs = self._ports(unit, [call.inputs for call in unit.calls], output=False)
            unit.outputs = self._ports(unit, [call.outputs for call in unit.calls], output=True)

    def _ports(self, unit, rows, output):
        columns = [[v for v in column if v is not None] for column in itertools.zip_longest(*rows)]
        return [Port(values, self._need, unit, output) for values in columns]

    def _backward(self):
        for value in self._findings.inputs:
            self._need(value, np.ones(len(value.keep), bool), "input of the model")
        for value in self._findings.outputs:
            self._need(value, np.ones(len(value.keep), bool), "output of the model")
        self._resolve()
        if self._multiple:
            for unit in reversed(self._findings.units):
                self._round_up(unit)
            self._resolve()

    def _need(self, value, channels, reason):
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
        """Calls the methods that reports and groups need, to replace rules that fail there."""
        for call in self._findings.calls:
            self._ask(call.unit, "coupled_channels", call)
            self._ask(call.unit, "removed_together", call)
        for unit in self._findings.units:
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
        """Keeps all of an input that the unit reads on another axis, even if nothing reads it.

        The followed axis holds positions then, and the output must keep their number.
        """
        if unit.alive:
            for port in unit.inputs:
                if port.read_across:
                    port.need_all(f"{unit.name} reads another axis")

    def _resolve(self):
        """Drains the queue and lets the rules resolve choices, until nothing changes."""
        self._drain()
        while True:
            for unit in reversed(self._findings.units):
                if unit.alive:
                    self._ask(unit, "resolve", unit)
                    self._keep_one(unit)
                    self._drain()
            if not self._grew():
                return

    def _grew(self):
        total = sum(int(v.keep.sum()) for call in self._findings.calls for v in call.outputs)
        before, self._total = self._total, total
        return total != before

    def _keep_one(self, unit):
        """Keeps at least one input channel, because Keras has no layers with zero channels."""
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
    """Every call of a shared layer needs all channels that any of the calls needs."""
    for port in unit.inputs + unit.outputs:
        for value in port.values:
            port.need(value.keep, kept_with(value.why, f"another call of {unit.name}"))
