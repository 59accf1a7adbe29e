"""Building blocks of the networks."""

import keras
from keras import layers

# The momentum of PyTorch's batch normalisation, which the papers use: 1 − 0.1.
_BATCH_NORM_MOMENTUM = 0.9


def channels_at(width, count):
    """A count of channels times the width, rounded, at least 1.

    Raises:
        ValueError: a width that is not above 0.
    """
    if not width > 0:
        raise ValueError(f"`width` must be above 0. Received: width={width}")
    return max(1, round(count * width))


def kernel_arguments(initializer, regularizer):
    """The arguments for the kernel of one layer, with its own initializer.

    If layers shared one initializer, all layers of the same shape would have the same values, and
    the seed would be drawn before the network is made.
    """
    if isinstance(initializer, keras.initializers.Initializer):
        initializer = initializer.clone()
    return {"kernel_initializer": initializer, "kernel_regularizer": regularizer}


class Blocks:
    """Layers of one network.

    Args:
        width: float above 0; every number of channels, except of the input and the output, is
            multiplied by it and rounded, to at least 1.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels, depthwise ones too.
        use_bias: bool, whether layers before a batch normalisation have a bias.
    """

    def __init__(self, width, kernel_initializer, kernel_regularizer, use_bias=False):
        self._width = width
        self._initializer = kernel_initializer
        self._regularizer = kernel_regularizer
        self._use_bias = use_bias

    def channels(self, count):
        """A count of channels at this width."""
        return channels_at(self._width, count)

    def _kernel(self):
        return kernel_arguments(keras.initializers.get(self._initializer), self._regularizer)

    def conv(self, x, filters, size, name, strides=1):
        """A convolution with `same` padding; `filters` is not multiplied by the width."""
        return layers.Conv2D(
            filters, size, strides, "same", use_bias=self._use_bias, name=name, **self._kernel()
        )(x)

    def depthwise(self, x, size, name, strides=1):
        """A depthwise convolution with `same` padding."""
        kernel = {
            key.replace("kernel", "depthwise"): value for key, value in self._kernel().items()
        }
        return layers.DepthwiseConv2D(
            size, strides, "same", use_bias=self._use_bias, name=name, **kernel
        )(x)

    def bn(self, x, name):
        """A batch normalisation."""
        return layers.BatchNormalization(momentum=_BATCH_NORM_MOMENTUM, name=name)(x)

    def bn_relu(self, x, name):
        """Batch normalisation and ReLU of the layer `name`."""
        return layers.ReLU(name=f"{name}_relu")(self.bn(x, f"{name}_bn"))

    def conv_bn_relu(self, x, filters, size, name, strides=1):
        """A convolution of `filters` at full width, batch normalisation, ReLU."""
        return self.bn_relu(self.conv(x, self.channels(filters), size, name, strides), name)

    def dense_bn_relu(self, x, units, name):
        """A dense layer of `units` at full width, batch normalisation, ReLU."""
        units = self.channels(units)
        x = layers.Dense(units, use_bias=self._use_bias, name=name, **self._kernel())(x)
        return self.bn_relu(x, name)

    def dense(self, x, units, name):
        """A dense layer with a bias; `units` is not multiplied by the width."""
        return layers.Dense(units, name=name, **self._kernel())(x)

    def classifier(self, x, classes, activation):
        """The last layer, named `logits`."""
        # Half precision is too coarse for the softmax and the loss.
        return layers.Dense(classes, activation, dtype="float32", name="logits", **self._kernel())(
            x
        )


def check_image(input_shape, smallest, what):
    """Raises a ValueError unless the shape is `(height, width, channels)` of enough pixels."""
    if len(input_shape) != 3 or min(input_shape[:2]) < smallest:
        raise ValueError(
            f"{what} takes images of at least {smallest}x{smallest} pixels with a channel axis. "
            f"Received: input_shape={tuple(input_shape)}"
        )
