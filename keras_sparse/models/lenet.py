"""The two LeNets of the pruning papers."""

import functools

import keras
from keras import layers

from keras_sparse.models.blocks import channels_at, kernel_arguments


def lenet_300_100(
    input_shape=(28, 28, 1),
    classes=10,
    activation=None,
    width=1.0,
    batch_norm=False,
    kernel_initializer="glorot_uniform",
    kernel_regularizer=None,
    name="lenet_300_100",
):
    """LeNet-300-100: two dense layers of 300 and 100 ReLUs; 266,610 parameters on MNIST.

    Args:
        input_shape: shape of an image; flattened.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden units and channels.
        batch_norm: bool, whether to use batch normalisation, instead of a bias, before each ReLU.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Example:

    >>> lenet_300_100().count_params()
    266610

    Reference:
        LeCun et al., Gradient-based learning applied to document recognition, 1998.
    """
    kernel = functools.partial(kernel_arguments, kernel_initializer, kernel_regularizer)
    inputs = keras.Input(input_shape)
    x = layers.Flatten(name="flatten")(inputs)
    for i, count in enumerate((300, 100), 1):
        units = channels_at(width, count)
        x = layers.Dense(units, use_bias=not batch_norm, name=f"dense{i}", **kernel())(x)
        x = _normalise_and_rectify(x, f"dense{i}", batch_norm)
    outputs = layers.Dense(classes, activation, name="logits", **kernel())(x)
    return keras.Model(inputs, outputs, name=name)


def lenet_5(
    input_shape=(28, 28, 1),
    classes=10,
    activation=None,
    width=1.0,
    batch_norm=False,
    kernel_initializer="glorot_uniform",
    kernel_regularizer=None,
    name="lenet_5",
):
    """LeNet-5 in Caffe's form: 5x5 convolutions of 20 and 50, dense 500; 431,080 parameters.

    The parameters are counted on MNIST without batch normalisation; 430,500 are prunable.

    Args:
        input_shape: `(height, width, channels)`, at least 16 pixels high and wide.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden units and channels.
        batch_norm: bool, whether to use batch normalisation, instead of a bias, before each ReLU.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: an image that is too small for two 5x5 convolutions with pooling.

    Example:

    >>> lenet_5().count_params()
    431080

    Reference:
        LeCun et al., 1998, in the form of Caffe's MNIST example.
    """
    if len(input_shape) != 3 or min(input_shape[:2]) < 16:
        raise ValueError(
            "LeNet-5 takes images of at least 16x16 pixels with a channel axis. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    kernel = functools.partial(kernel_arguments, kernel_initializer, kernel_regularizer)
    x = inputs = keras.Input(input_shape)
    for i, count in enumerate((20, 50), 1):
        filters = channels_at(width, count)
        x = layers.Conv2D(filters, 5, use_bias=not batch_norm, name=f"conv{i}", **kernel())(x)
        x = _normalise_and_rectify(x, f"conv{i}", batch_norm)
        x = layers.MaxPooling2D(name=f"pool{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    units = channels_at(width, 500)
    x = layers.Dense(units, use_bias=not batch_norm, name="dense", **kernel())(x)
    x = _normalise_and_rectify(x, "dense", batch_norm)
    outputs = layers.Dense(classes, activation, name="logits", **kernel())(x)
    return keras.Model(inputs, outputs, name=name)


def _normalise_and_rectify(x, name, batch_norm):
    if batch_norm:
        x = layers.BatchNormalization(name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
