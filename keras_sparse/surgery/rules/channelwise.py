"""Rules for layers that compute each channel by itself."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import in_step, nothing_known, to_numbers
from keras_sparse.surgery.rules.coupled import Coupled


class Elementwise(Coupled):
    """A function of each channel by itself, the same at every position.

    `channel_weights` names the weights with an entry for each channel: vectors, or arrays with the
    same channel axis as the input. `scale`, if given, names the weight that multiplies the channel:
    where it is zero, the output is constant.
    """

    channel_weights: tuple = ()
    scale: str | None = None
    makes_channels = False
    mixing = "reads another axis"

    def axis(self, layer, rank):
        """The axis of the layer's weights, None if they belong to no axis."""
        return None

    def coupling(self, call):
        """Couples channel by channel, if the channels are on the layer's axis."""
        source = call.inputs[0]
        axis = self.axis(call.operation, len(source.shape))
        return in_step(call) if axis in (None, source.axis) else None

    def forward(self, call):
        """Constant inputs give constant outputs, if the channels are on the layer's axis."""
        source = call.inputs[0]
        axis = self.axis(call.operation, len(source.shape))
        if axis not in (None, source.axis):
            return [(axis, Constants.unknown(source.shape[axis]))]
        return [(source.axis, self.constants(call, source.constants))]

    def constants(self, call, constants):
        """The output's constants: the layer evaluated on the input's constants."""
        constants = self._killed(call, constants)
        return constants.map(lambda values: self.evaluate(call, values))

    def factor(self, call):
        """The array that multiplies the channels, None if there is none."""
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
    """A layer that does not change constants, such as pooling, dropout, cropping, up-sampling."""

    def constants(self, call, constants):
        """The input's constants, if they do not depend on the position."""
        return constants.flattened()


class Beside(Elementwise):
    """A layer that works along other axes than the channels; on the channel axis it mixes them."""

    mixing = "mixes channels"

    def beside(self, call):
        """Whether the channels are followed and the layer works along other axes only."""
        raise NotImplementedError

    def place(self, call):
        """The channel axis of the output."""
        return call.inputs[0].axis

    def forward(self, call):
        if not self.beside(call):
            return nothing_known(call)
        constants = call.inputs[0].constants.flattened()
        return [(self.place(call), self.constants(call, constants))]

    def coupling(self, call):
        return in_step(call) if self.beside(call) else None
