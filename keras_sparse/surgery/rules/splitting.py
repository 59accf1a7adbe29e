"""Rules of `keras.ops.split`, `unstack` and `stack`."""

import numpy as np

from keras_sparse.surgery.rules.base import Rule, nothing_known, register_rule
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.rules.merging import ConcatenateRule


@register_rule("Split")
class SplitRule(Coupled):
    """A split along the channels, or along another axis, which couples all outputs."""

    mixing = "splits along the channels or the batch"
    # Whether a single part differs from the whole tensor.
    parts_of_one = False

    def refuses(self, call):
        return None if self._along(call) + len(call.inputs[0].shape) else "splits the batch"

    def _along(self, call):
        """The split axis, counted from the end."""
        rank = len(call.inputs[0].shape)
        return call.operation.axis % rank - rank

    def _runs(self, call):
        """For each output, the indices of its channels in the input; None without channel axis."""
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
        """For each output, its number of kept channels."""
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
        """Splits the kept channels; outputs without any get the whole input, which is not read."""
        source = read(call.inputs[0])
        if not self.along_channels(call):
            return make()(source)
        left = self._parts(call)
        several = self.parts_of_one or np.count_nonzero(left) > 1
        # A part has no mask.
        whole = source[...] if call.takes_masks else source
        parts = iter(make()(source) if several else [whole])
        return [next(parts) if size else source for size in left]


@register_rule("Unstack")
class UnstackRule(SplitRule):
    """Unstacks channels, or another axis, which couples all outputs; removes the axis."""

    parts_of_one = True

    def _runs(self, call):
        source = call.inputs[0]
        if source.axis is None or not self.along_channels(call):
            return super()._runs(call)
        return [np.array([channel]) for channel in range(len(call.outputs))]

    def forward(self, call):
        """The constants of each output, on its channel axis."""
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
    """Stacks along a new axis; couples all inputs, as concatenation along a non-channel axis."""

    def refuses(self, call):
        """Refuses arrays among the tensors, and a new axis before the batch."""
        plain = len(call.args) == 1 and len(call.args[0]) == len(call.inputs)
        new = call.operation.axis % len(call.outputs[0].shape)
        return None if plain and new else "stacks more than tensors, or batches"

    def forward(self, call):
        """As for concatenation, with the channels after or before the new axis."""
        ((axis, constants),) = super().forward(call)
        axes = {value.axis for value in call.inputs}
        if len(axes) > 1 or None in axes:
            return [(axis, constants)]
        rank = len(call.outputs[0].shape)
        place = axis % (rank - 1)
        place += call.operation.axis % rank <= place
        return [(place - rank, constants)]

    def _along(self, call):
        """None: the inputs do not have the new axis."""
        return None

    # Unlike a concatenation, a stack of one tensor changes its shape.
    apply = Rule.apply
