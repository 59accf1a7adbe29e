"""The rule of `EinsumDense`."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.activations import activate, mixes_channels
from keras_sparse.surgery.rules.base import plain_config, positions, register_rule
from keras_sparse.surgery.rules.linear import Linear
from keras_sparse.surgery.rules.places import constants_along


@register_rule(keras.layers.EinsumDense)
class EinsumDenseRule(Linear):
    """Reads channels on the last input axis, which is summed over; computes the last output axis.

    The kernel's other axes act as taps. Along axes that are summed over too, a channel may have
    another constant at each index. Along axes that the output has too (heads), an output constant
    depends on the position, so a bias must have these axes.
    """

    def refuses(self, call):
        """Refuses equations with last axes that are used otherwise."""
        source, kernel, output = self._labels(call.operation)
        good = (
            source[-1] in kernel
            and source[-1] not in output
            and output[-1] in kernel
            and output[-1] not in source
        )
        return None if good else f"no rule for the equation {call.operation.equation!r}"

    def _labels(self, layer):
        inputs, output = layer.equation.replace("...", "").replace(" ", "").split("->")
        return (*inputs.split(","), output)

    def _order(self, layer):
        """The kernel's labels: those in the output, the summed ones, and the two channel axes."""
        source, kernel, output = self._labels(layer)
        ends = (source[-1], output[-1])
        kept = [label for label in output if label in kernel and label not in ends]
        summed = [label for label in kernel if label not in output and label not in ends]
        return kept, summed, ends

    def kernel(self, unit):
        """The kernel as `(taps, inputs, outputs)`; labels of the output vary slowest."""
        return self.rows(unit.array("kernel"), unit.operation)

    def rows(self, kernel, layer):
        """`(taps, inputs, outputs)`, a copy or a view."""
        labels = self._labels(layer)[1]
        kept, summed, ends = self._order(layer)
        axes = [labels.index(label) for label in (*kept, *summed, *ends)]
        moved = np.transpose(kernel, axes)
        return moved.reshape(-1, *moved.shape[-2:])

    def _places(self, unit):
        """Number of positions along the output's other labels."""
        layer = unit.operation
        labels = self._labels(layer)[1]
        shape = unit.array("kernel").shape
        return int(np.prod([shape[labels.index(x)] for x in self._order(layer)[0]], dtype=int))

    def _parts(self, kernel, unit):
        """The kernel as `(places, summed places, inputs, outputs)`."""
        return kernel.reshape(self._places(unit), -1, *kernel.shape[1:])

    def _constants(self, call):
        """`(summed places, inputs)`: the constants of the input, NaN if it is not constant."""
        unit, source = call.unit, call.inputs[0]
        shape = self._parts(self.kernel(unit), unit).shape[1:3]
        if source.axis != -1:
            return np.full(shape, np.nan)
        labels, (_, summed, _) = self._labels(call.operation)[0], self._order(call.operation)
        if len(summed) == 1 and summed[0] in labels:
            return constants_along(source, labels.index(summed[0]) - len(labels))
        return np.broadcast_to(source.constants.uniform, shape)

    def forward(self, call):
        """Each index along the output's other labels is one class of positions."""
        values = self._made(call)
        outputs = self.reads(call.unit).shape[1]
        if values is None:
            return [(-1, Constants.unknown(outputs))]
        return [(-1, Constants.of(values, call))]

    def _made(self, call):
        """`(places, outputs)`: the output's constants, NaN for others; None if there are none."""
        unit, layer = call.unit, call.operation
        bias = self._bias(unit)
        if mixes_channels(layer.activation) or bias is None:
            return None
        constants, parts = self._constants(call), self._parts(self.kernel(unit), unit)
        live = (parts[:, np.isnan(constants)] != 0).any(1)
        used = np.flatnonzero((np.nan_to_num(constants) != 0).any(0))
        values = np.einsum(
            "tk,ptko->po", np.nan_to_num(constants[:, used]), parts[:, :, used].astype(np.float64)
        )
        made = activate(layer.activation, values + bias, call.outputs[0].dtype)
        return np.where(live, np.nan, made)

    def places(self, call, axis):
        """As `_made`, if `axis` of the output has these places; else None."""
        output, kept = self._labels(call.operation)[2], self._order(call.operation)[0]
        return self._made(call) if [output[axis]] == kept else None

    def _bias(self, unit):
        """The bias as `(places or 1, outputs)`; None if it has other axes."""
        bias, layer = unit.array("bias"), unit.operation
        if bias is None:
            return np.zeros((1, 1))
        ends = self._order(layer)[2]
        if layer.bias_axes == ends[1]:
            return bias.reshape(1, -1)
        return bias.reshape(-1, bias.shape[-1]) if layer.bias_axes == self._axes(unit) else None

    def _axes(self, unit):
        """The labels that a bias must have to hold any constant, in the output's order."""
        kept, _, ends = self._order(unit.operation)
        return "".join((*kept, ends[1]))

    def _foldable(self, unit, source):
        constants = self._of_all_calls(unit)
        fits = unit.operation.bias_axes in (None, self._axes(unit))
        known = ~np.isnan(constants).any(0) & (not source.whole)
        return known & (fits | (constants == 0).all(0))

    def _of_all_calls(self, unit):
        """The constants of the input that are the same in all calls."""
        first, *others = (self._constants(call) for call in unit.calls)
        return np.where(np.all([other == first for other in others], axis=0), first, np.nan)

    def mergeable(self, layer):
        """False: constants can only be folded into a bias."""
        return False

    def _correction(self, unit):
        constants = np.nan_to_num(self._of_all_calls(unit))
        folded = self._dropped(unit) & (constants != 0).any(0)
        parts = self._parts(self.kernel(unit), unit)[..., unit.outputs[0].kept]
        return np.einsum("tk,ptko->po", constants[:, folded], parts[:, :, folded].astype(float))

    def config(self, unit):
        """The config with the new output width, and with bias axes if a bias is new."""
        config = plain_config(unit)
        config["output_shape"] = (*config["output_shape"][:-1], len(unit.outputs[0].kept))
        if config["bias_axes"] is None and np.any(self._correction(unit)):
            config["bias_axes"] = self._axes(unit)
        return config

    def slices(self, unit):
        """Slices the two channel axes of the kernel and the last axis of the bias."""
        labels = self._labels(unit.operation)[1]
        _, _, ends = self._order(unit.operation)
        cut = [None] * len(labels)
        cut[labels.index(ends[0])] = self.source(unit).kept
        cut[labels.index(ends[1])] = unit.outputs[0].kept
        places = len(self._order(unit.operation)[0])
        bias = unit.array("bias")
        rank = places + 1 if bias is None else bias.ndim
        return {"kernel": tuple(cut), "bias": (None,) * (rank - 1) + (unit.outputs[0].kept,)}

    def fold(self, unit, weights):
        correction = self._correction(unit)
        if correction.any():
            bias = weights["bias"].astype(np.float64)
            weights["bias"] = bias + correction.reshape(bias.shape)

    def macs(self, call):
        """The product of the sizes of all labels, at batch size 1."""
        source, kernel, _ = self._labels(call.operation)
        size = int(np.prod(call.operation.kernel.shape))
        shape = call.inputs[0].shape[-len(source) :]
        open_axes = len(call.inputs[0].shape) - len(source)
        free = [n or 1 for label, n in zip(source, shape, strict=True) if label not in kernel]
        free = free if open_axes else free[1:]
        return size * int(np.prod(free, dtype=int)) * positions(call.inputs[0].shape[:open_axes])
