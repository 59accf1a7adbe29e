"""The norm of the incoming weights of each output channel."""

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
    """The built layers of `model`, nested ones included, that `channel_norms` accepts.

    These are dense layers and convolutions of all kinds, in the order of the model.
    """
    kinds = _PLAIN + _TRANSPOSED + _DEPTHWISE + _SEPARABLE
    return [layer for layer in layers_of_type(model, kinds) if layer.built]


def channel_norms(layer):
    """2-norm of the incoming weights of each output channel of a layer, without biases.

    A channel whose norm is zero gives the same output for every input.

    Args:
        layer: a built layer, one of `layers_with_channels`. For a separable convolution, the
            pointwise kernel is used.

    Returns:
        A float64 array of shape `(channels,)`.

    Raises:
        ValueError: a layer of another kind, or one that is not built.

    Example:

    >>> channel_norms(model.get_layer("conv1")) < 1e-6
    """
    if not layer.built:
        raise ValueError(f"The layer {layer.name!r} has no weights yet: build the model first.")
    weight, axes = channel_weight(layer)
    # Adam + L2 leaves weights of 1e-25 and less; their squares are zero in float32.
    squares = np.square(keras.ops.convert_to_numpy(weight).astype("float64"))
    others = tuple(axis for axis in range(squares.ndim) if axis - squares.ndim not in axes)
    return np.sqrt(squares.sum(axis=others)).ravel()


def channel_weight(layer):
    """The weight that computes a layer's output channels, and its channel axes.

    Args:
        layer: a built layer, one of `layers_with_channels`.

    Returns:
        `(variable, axes)`, the axes counted from the end.

    Raises:
        ValueError: a layer of another kind.

    Example:

    >>> channel_weight(dense)
    (<Variable path=dense/kernel, ...>, (-1,))
    """
    if isinstance(layer, _SEPARABLE):
        return layer.pointwise_kernel, (-1,)
    if isinstance(layer, _DEPTHWISE):
        return layer.kernel, (-2, -1)
    if isinstance(layer, _TRANSPOSED):
        return layer.kernel, (-2,)
    if isinstance(layer, _PLAIN):
        return layer.kernel, (-1,)
    raise ValueError(
        "`layer` must be a dense layer or a convolution. "
        f"Received: layer={layer.name!r} of type {type(layer).__name__}"
    )
