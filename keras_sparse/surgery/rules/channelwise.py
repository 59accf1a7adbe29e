"""Rules for layers that compute each channel by itself."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    Rule,
    couple,
    default_axis,
    default_size,
    in_step,
    to_numbers,
)


class Elementwise(Rule):
    """A function of each channel by itself, the same at every position.

    `channel_weights` names the weights that have an entry for each channel: vectors, or arrays
    with the channels on the axis on which the input has them. `scale`, if given, names one of them
    that multiplies the channel, so that the output is constant where it is zero.
    """

    channel_weights: tuple = ()
    scale: str | None = None
    makes_channels = False

    def axis(self, layer, rank):
        """The axis that the layer's weights belong to, None if it has no such axis."""
        return None

    def source(self, unit):
        """The input port on the layer's axis."""
        port = unit.inputs[0]
        axis = self.axis(unit.operation, len(port.shape))
        return port if axis is None else port.on(axis)

    def forward(self, call):
        """Constants in, constants out, on the layer's axis."""
        source = call.inputs[0]
        axis = self.axis(call.operation, len(source.shape))
        if axis not in (None, source.axis):
            return [(axis, Constants.unknown(source.shape[axis]))]
        return [(source.axis, self.constants(call, source.constants))]

    def constants(self, call, constants):
        """The output's constants: the layer evaluated on those of the input."""
        constants = self._killed(call, constants)
        return constants.map(lambda values: self.evaluate(call, values))

    def factor(self, call):
        """What multiplies each channel, an array; None if nothing does."""
        return None if self.scale is None else call.unit.array(self.scale)

    def _killed(self, call, constants):
        scale = self.factor(call)
        if scale is None or scale.size != constants.values.shape[1]:
            return constants
        dead = np.isnan(constants.values[0]) & (scale.reshape(-1) == 0)
        if not dead.any():
            return constants
        values = constants.values.copy()
        values[:, dead] = 0.0
        return Constants(values, constants.profile)

    def evaluate(self, call, values):
        """The layer's output for `values`, an array `(classes, channels)`."""
        source = call.inputs[0]
        shape = [1] * len(source.shape)
        if source.axis is not None:
            shape[source.axis] = values.shape[1]
        shape[0] = len(values)
        tensor = keras.ops.convert_to_tensor(values.reshape(shape), source.dtype)
        args, kwargs = call.arguments(lambda value: tensor if value is source else None)
        return to_numbers(call.operation(*args, **kwargs)).reshape(values.shape)

    def needs(self, unit):
        couple(self.source(unit), unit.outputs[0])

    def coupled_channels(self, call):
        return in_step(call)

    def slices(self, unit):
        port = unit.outputs[0]
        slices = {}
        for name in self.channel_weights:
            weight = unit.array(name)
            if weight is None or not weight.ndim or port.axis is None:
                continue
            axis = port.axis if weight.ndim > 1 else 0
            if weight.shape[axis] == port.size:
                index = [None] * weight.ndim
                index[axis] = port.kept
                slices[name] = tuple(index)
        return slices


class PassThrough(Elementwise):
    """Leaves every constant as it is: pooling, dropout, cropping, up-sampling."""

    def constants(self, call, constants):
        """The input's, as far as they do not depend on the position."""
        return constants.flattened()


class Beside(Elementwise):
    """Works along other axes than the channels'; along theirs it would mix them, and all stay."""

    mixing = "mixes channels"

    def beside(self, call):
        """Whether the channels are followed, and left alone."""
        raise NotImplementedError

    def place(self, call):
        """The channels' axis in the output."""
        return call.inputs[0].axis

    def forward(self, call):
        source, out = call.inputs[0], call.outputs[0]
        if not self.beside(call):
            return [(default_axis(out), Constants.unknown(default_size(out)))]
        return [(self.place(call), self.constants(call, source.constants.flattened()))]

    def needs(self, unit):
        source, target = unit.inputs[0], unit.outputs[0]
        if self.beside(unit.calls[0]):
            couple(source, target)
        elif target.keep.any():
            target.need_all(f"{unit.name}: {self.mixing}")
            source.need(self.entering(unit), f"{unit.name}: {self.mixing}")

    def entering(self, unit):
        """Which of the channels that are mixed must stay."""
        return np.ones(unit.inputs[0].size, bool)
