"""`keras.ops.split` and `keras.ops.stack`: one tensor into several, several into one."""

import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    Rule,
    default_axis,
    default_size,
    reasons_behind,
    register_rule,
)
from keras_sparse.surgery.rules.merging import ConcatenateRule


@register_rule("Split")
class SplitRule(Rule):
    """Runs of the channels, or lockstep along another axis."""

    # Whether a part of one is something else than the whole.
    parts_of_one = False

    def refuses(self, call):
        return None if self._along(call) + len(call.inputs[0].shape) else "splits the batch"

    def _along(self, call):
        """The axis that is split, counted from the end."""
        rank = len(call.inputs[0].shape)
        return call.operation.axis % rank - rank

    def _runs(self, call):
        """For each output its channels among the input's; None without a channel axis."""
        source = call.inputs[0]
        if source.axis is None:
            return None
        every = np.arange(len(source.constants.values[0]))
        if self._along(call) != source.axis:
            return [every] * len(call.outputs)
        parts = call.operation.indices_or_sections
        return np.split(every, parts if isinstance(parts, int) else list(parts))

    def forward(self, call):
        runs = self._runs(call)
        if runs is None:
            return [(default_axis(v), Constants.unknown(default_size(v))) for v in call.outputs]
        constants = call.inputs[0].constants.flattened()
        return [(call.inputs[0].axis, constants.take(run)) for run in runs]

    def needs(self, unit):
        source, runs = unit.inputs[0], self._runs(unit.calls[0])
        if runs is None:
            if unit.alive:
                for port in (source, *unit.outputs):
                    port.need_all(f"{unit.name} splits along the channels or the batch")
            return
        for port, run in zip(unit.outputs, runs, strict=True):
            need, why = np.zeros(source.size, bool), np.full(source.size, "", object)
            need[run], why[run] = port.keep, reasons_behind(source, port, of=run)
            source.need(need, why)
        if any(port.keep.any() for port in unit.outputs):
            # An output that nobody reads as well, where others keep its channels in the input.
            for port, run in zip(unit.outputs, runs, strict=True):
                port.need(source.keep[run], source.why[run])

    def coupled_channels(self, call):
        runs = self._runs(call) or []
        pairs = zip(call.outputs, runs, strict=bool(runs))
        return [(call.inputs[0], run, value, np.arange(len(run))) for value, run in pairs]

    def _taking(self, call):
        """Outputs that have channels left."""
        return [i for i, value in enumerate(call.outputs) if value.keep.any()]

    def along_channels(self, call):
        return self._along(call) == call.inputs[0].axis

    def config(self, unit):
        call, config = unit.calls[0], unit.operation.get_config()
        if self.along_channels(call):
            sizes = [int(call.outputs[i].keep.sum()) for i in self._taking(call)]
            config["indices_or_sections"] = np.cumsum(sizes)[:-1].tolist()
        return config

    def apply(self, call, make, read):
        """Splits what is left; an output that nobody reads stands in for itself."""
        source, taking = read(call.inputs[0]), self._taking(call)
        if not self.along_channels(call):
            return make()(source)
        parts = make()(source) if self.parts_of_one or len(taking) > 1 else [source]
        results = [source] * len(call.outputs)
        for i, part in zip(taking, parts, strict=True):
            results[i] = part
        return results


@register_rule("Unstack")
class UnstackRule(SplitRule):
    """One channel each, or lockstep along another axis; the axis is gone from the outputs."""

    parts_of_one = True

    def _runs(self, call):
        source = call.inputs[0]
        if source.axis is None or not self.along_channels(call):
            return super()._runs(call)
        return [np.array([channel]) for channel in range(len(call.outputs))]

    def forward(self, call):
        """The constants of each run, on the axis that is left."""
        results = super().forward(call)
        source, along = call.inputs[0], self._along(call)
        if source.axis is None:
            return results
        axis = None if along == source.axis else source.axis + (along > source.axis)
        return [(axis, constants) for _, constants in results]

    def config(self, unit):
        config = unit.operation.get_config()
        taking = self._taking(unit.calls[0])
        return {**config, "num": len(taking)} if self.along_channels(unit.calls[0]) else config


@register_rule("Stack")
class StackRule(ConcatenateRule):
    """Lockstep, as concatenation along another axis than the channels': the stack's is new."""

    def refuses(self, call):
        """Arrays among the tensors, a new axis before the batch."""
        plain = len(call.args) == 1 and len(call.args[0]) == len(call.inputs)
        new = call.operation.axis % len(call.outputs[0].shape)
        return None if plain and new else "stacks more than tensors, or batches"

    def forward(self, call):
        """As for concatenation, with the channels behind the new axis or before it."""
        ((axis, constants),) = super().forward(call)
        axes = {value.axis for value in call.inputs}
        if len(axes) > 1 or None in axes:
            return [(axis, constants)]
        rank = len(call.outputs[0].shape)
        place = axis % (rank - 1)
        place += call.operation.axis % rank <= place
        return [(place - rank, constants)]

    def _along(self, call):
        """None of the inputs' axes."""
        return None

    # A stack of one has an axis more, other than a concatenation of one.
    apply = Rule.apply
