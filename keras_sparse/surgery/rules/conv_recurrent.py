"""Rules of recurrent layers with convolution kernels."""

from typing import ClassVar

import keras
import numpy as np

from keras_sparse.surgery.rules.base import positions, register_rule
from keras_sparse.surgery.rules.recurrent import Cell, Recurrent

_LAYERS = (keras.layers.ConvLSTM1D, keras.layers.ConvLSTM2D, keras.layers.ConvLSTM3D)


class ConvCell(Cell):
    """The cell of a ConvLSTM: each entry of a kernel is a convolution with several taps."""

    gates_of: ClassVar = dict.fromkeys(_LAYERS, (4, 2))

    def __init__(self, unit, layer, prefix=""):
        super().__init__(unit, layer, prefix)
        self.taps = tuple(range(self.kernel.ndim - 2))
        self.sums = self.kernel.sum(self.taps)
        # An input is read if any of its taps is not zero.
        self.kernel = np.abs(self.kernel).max(self.taps)
        self.recurrent = np.abs(self.recurrent).max(self.taps)

    def units_of(self, layer):
        return layer.filters

    def foldable(self, constants):
        """With a padded border, only zeros can be folded: the sum of the taps differs there."""
        valid = self.layer.padding == "valid"
        return (constants == 0) | (~np.isnan(constants) & valid)

    def correction(self, constants, dropped, units):
        values = np.where(dropped, np.nan_to_num(constants), 0.0)
        return values @ self.sums[:, self.columns(units)].astype(np.float64)

    def slices(self, inputs, units):
        whole = (None,) * len(self.taps)
        return {
            name: (*whole, *cut) if len(cut) == 2 else cut
            for name, cut in super().slices(inputs, units).items()
        }


@register_rule(*_LAYERS)
class ConvRecurrentRule(Recurrent):
    """The rule of ConvLSTM layers: filters are removed as units of other recurrent layers."""

    cell, size = ConvCell, "filters"

    def refuses(self, call):
        first = call.operation.data_format == "channels_first"
        return "has its channels first" if first else super().refuses(call)

    def macs(self, call):
        layer = call.operation
        size = int(np.prod(layer.cell.kernel.shape) + np.prod(layer.cell.recurrent_kernel.shape))
        steps = 1 if layer.return_sequences else call.inputs[0].shape[1] or 1
        return size * steps * positions(call.outputs[0].shape, -1)
