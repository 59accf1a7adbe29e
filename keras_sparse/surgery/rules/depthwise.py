"""The rule of depthwise convolutions."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.activations import activate, mixes_channels
from keras_sparse.surgery.rules.base import Rule, channel_axis, positions, register_rule
from keras_sparse.surgery.rules.windows import padded_classes, tap_classes


@register_rule(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
class DepthwiseRule(Rule):
    """A depthwise convolution: only the outputs `k * multiplier + j` read input channel `k`."""

    def axis(self, layer):
        return channel_axis(layer.data_format, layer.rank + 2)

    def kernel(self, unit):
        """The kernel as `(taps, channels, multiplier)`."""
        kernel = unit.array("kernel")
        return kernel.reshape(-1, *kernel.shape[-2:])

    def forward(self, call):
        """The constants for each set of taps that the border does not cut off."""
        unit, layer = call.unit, call.operation
        source, target = call.inputs[0], call.outputs[0]
        axis = self.axis(layer)
        kernel = self.kernel(unit).astype(np.float64)
        outputs = kernel.shape[1] * kernel.shape[2]
        if mixes_channels(layer.activation):
            return [(axis, Constants.unknown(outputs))]
        padded = padded_classes(call)
        inside, classes, profile = padded or (source, *tap_classes(call))
        constants = inside.constants.uniform
        if source.axis != axis:
            constants = np.full(kernel.shape[1], np.nan)
        if classes is None:
            classes = np.full((1, len(kernel)), np.nan)
        empty = (kernel == 0).all(0) | (constants == 0)[:, None]
        with np.errstate(invalid="ignore"):
            rows = np.einsum("pt,tkj->pkj", classes, kernel) * constants[:, None]
        rows = np.where(empty, 0.0, rows).reshape(len(classes), outputs)
        bias = unit.array("bias")
        rows = rows if bias is None else rows + bias
        result = Constants.of(rows, profile)
        return [(axis, result.map(lambda v: activate(layer.activation, v, target.dtype)))]

    def needs(self, unit):
        """Keeps an input channel together with all outputs that read it."""
        target = unit.outputs[0]
        if not target.keep.any():
            return
        source = unit.inputs[0].on(self.axis(unit.operation))
        multiplier = target.size // source.size
        if mixes_channels(unit.operation.activation):
            target.need_all(f"{unit.name}: its activation mixes channels")
        keep = target.keep.reshape(-1, multiplier)
        first = np.arange(source.size) * multiplier + keep.argmax(1)
        reasons = target.why[first]
        varies = np.isnan(source.constants.uniform)
        lost = source.constants.known & np.isnan(target.constants.uniform[first])
        reasons[lost] = f"{unit.name}: depthwise, padding {unit.operation.padding!r}"
        reasons[lost & varies] = f"{unit.name}: its constant depends on the position"
        source.need(keep.any(1), reasons)
        target.need(np.repeat(source.keep, multiplier), np.repeat(source.why, multiplier))

    def coupled_channels(self, call):
        source, target = call.inputs[0], call.outputs[0]
        if source.axis != self.axis(call.operation):
            return []
        outputs = np.arange(len(target.keep))
        return [(source, outputs // (len(target.keep) // len(source.keep)), target, outputs)]

    def slices(self, unit):
        """Slices the channels of the kernel; the bias has one entry for each output."""
        source = unit.inputs[0].on(self.axis(unit.operation))
        window = (None,) * (unit.array("kernel").ndim - 2)
        return {"kernel": (*window, source.kept, None), "bias": (unit.outputs[0].kept,)}

    def macs(self, call):
        layer = call.operation
        size = int(np.prod(layer.kernel.shape))
        return size * positions(call.outputs[0].shape, self.axis(layer))
