"""`keras.ops.split` and `keras.ops.stack`: one tensor into several, several into one."""

import numpy as np

from keras_sparse.surgery.rules.base import Rule, nothing_known, register_rule
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.rules.merging import ConcatenateRule


@register_rule("Split")
class SplitRule(Coupled):
    """Runs of the channels, or lockstep along another axis."""

    mixing = "splits along the channels or the batch"
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
            return nothing_known(call)
        constants = call.inputs[0].constants.flattened()
        return [(call.inputs[0].axis, constants.take(run)) for run in runs]

    def coupling(self, call):
        runs = self._runs(call)
        if runs is None:
            return None
        pairs = zip(call.outputs, runs, strict=True)
        return [(call.inputs[0], run, value, np.arange(len(run))) for value, run in pairs]

    def _parts(self, call):
        """For each output how many channels are left of it."""
        return [int(call.inputs[0].keep[run].sum()) for run in self._runs(call)]

    def along_channels(self, call):
        return self._along(call) == call.inputs[0].axis

    def config(self, unit):
        call, config = unit.calls[0], unit.operation.get_config()
        if self.along_channels(call):
            sizes = [size for size in self._parts(call) if size]
            config["indices_or_sections"] = np.cumsum(sizes)[:-1].tolist()
        return config

    def apply(self, call, make, read):
        """Splits what is left; for an output of which nothing is left stands the whole."""
        source = read(call.inputs[0])
        if not self.along_channels(call):
            return make()(source)
        left = self._parts(call)
        several = self.parts_of_one or np.count_nonzero(left) > 1
        parts = iter(make()(source) if several else [source])
        return [next(parts) if size else source for size in left]


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
        call = unit.calls[0]
        if not self.along_channels(call):
            return config
        return {**config, "num": int(np.count_nonzero(self._parts(call)))}


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
