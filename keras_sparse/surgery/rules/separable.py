"""The rule of separable convolutions."""

import keras
import numpy as np

from keras_sparse.surgery.rules.base import positions, register_rule
from keras_sparse.surgery.rules.linear import Convolution


@register_rule(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
class SeparableRule(Convolution):
    """`output[o] = sum_kj (depthwise[k, j] * input[k]) pointwise[k, j, o] + bias[o]`.

    With a padded border, no carrier can replace a channel, because each has its own window.
    """

    def kernels(self, unit):
        """`(taps, inputs, multiplier)` and `(inputs, multiplier, outputs)`."""
        depthwise = unit.array("depthwise_kernel")
        depthwise = depthwise.reshape(-1, *depthwise.shape[-2:])
        pointwise = unit.array("pointwise_kernel")
        return depthwise, pointwise.reshape(*depthwise.shape[1:], -1)

    def mergeable(self, layer):
        return False

    def why_stuck(self, layer):
        return f"separable, padding {layer.padding!r}"

    def find_reads(self, unit):
        depthwise, pointwise = self.kernels(unit)
        return ((depthwise != 0).any(0)[:, :, None] & (pointwise != 0)).any(1)

    def taps(self, unit, classes, inputs, outputs):
        """The two kernels multiplied out, summed over the taps of each class."""
        depthwise, pointwise = self.kernels(unit)
        sums = np.einsum("pt,tkj->pkj", classes, depthwise[:, inputs].astype(np.float64))
        mix = pointwise[inputs][:, :, outputs].astype(np.float64)
        return np.einsum("pkj,kjo->pko", sums, mix)

    def slices(self, unit):
        """Slices inputs of both kernels, and outputs of the second."""
        inputs, outputs = self.source(unit).kept, unit.outputs[0].kept
        depthwise = unit.array("depthwise_kernel")
        window = (None,) * (depthwise.ndim - 2)
        multiplier = depthwise.shape[-1]
        mixed = (inputs[:, None] * multiplier + np.arange(multiplier)).reshape(-1)
        return {
            "depthwise_kernel": (*window, inputs, None),
            "pointwise_kernel": (*window, mixed, outputs),
            "bias": (outputs,),
        }

    def macs(self, call):
        """Both kernels at each position of the output."""
        layer = call.operation
        size = np.prod(layer.depthwise_kernel.shape) + np.prod(layer.pointwise_kernel.shape)
        return int(size) * positions(call.outputs[0].shape, self.output_axis(layer))
