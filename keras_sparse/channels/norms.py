"""The norm of the weights that lead into each output channel."""

import math

import keras
import numpy as np

from keras_sparse.variables import layers_of_type

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_PLAIN = (
    keras.layers.Dense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)


def layers_with_channels(model):
    """The built layers of `model`, nested ones included, whose channels `channel_norms` knows.

    Those are dense layers and convolutions of all kinds, in the order of the model.
    """
    kinds = _PLAIN + _TRANSPOSED + _DEPTHWISE + _SEPARABLE
    return [layer for layer in layers_of_type(model, kinds) if layer.built]


def channel_norms(layer):
    """2-norm of the incoming weights of each output channel of a layer; biases do not count.

    A channel whose norm is zero gives the same output for every input.

    Args:
        layer: a built layer, one of `layers_with_channels`. A separable convolution is judged by
            its pointwise kernel.

    Returns:
        A float64 array of shape `(channels,)`.

    Raises:
        ValueError: a layer of another kind, or one that is not built.

    Example:

    >>> channel_norms(model.get_layer("conv1")) < 1e-6
    """
    columns = _columns(layer)
    # Squares of what Adam + L2 leaves, 1e-25 and less, vanish in float32.
    return np.sqrt(np.sum(np.square(columns.astype("float64")), axis=0))


def _columns(layer):
    """The incoming weights as a matrix with a column for each output channel."""
    if not layer.built:
        raise ValueError(f"The layer {layer.name!r} has no weights yet: build the model first.")
    if isinstance(layer, _DEPTHWISE):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        return kernel.reshape(math.prod(kernel.shape[:-2]), -1)
    if isinstance(layer, _SEPARABLE):
        kernel = keras.ops.convert_to_numpy(layer.pointwise_kernel)
    elif isinstance(layer, _TRANSPOSED):
        kernel = np.swapaxes(keras.ops.convert_to_numpy(layer.kernel), -1, -2)
    elif isinstance(layer, _PLAIN):
        kernel = keras.ops.convert_to_numpy(layer.kernel)
    else:
        raise ValueError(
            "`layer` must be a dense layer or a convolution. "
            f"Received: layer={layer.name!r} of type {type(layer).__name__}"
        )
    return kernel.reshape(-1, kernel.shape[-1])
