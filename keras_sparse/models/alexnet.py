"""The two AlexNets that SNIP and sparse momentum train on CIFAR-10."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image

# Filters and kernel size; each has stride 2.
_CONVS = ((96, 11), (256, 5), (384, 3), (384, 3), (256, 3))


def alexnet_s(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="alexnet_s",
):
    """AlexNet-s: five convolutions of stride 2 and two dense layers of 1024.

    Each hidden layer has a bias, batch normalisation and a ReLU. 5,077,066 trainable parameters
    on CIFAR-10.

    Args:
        input_shape: `(height, width, channels)`.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden channels.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: a shape without a channel axis, or a width not above 0.

    Example:

    >>> sum(w.value.numpy().size for w in alexnet_s().trainable_variables)
    5077066

    Reference:
        Krizhevsky et al., 2012; in this form Lee et al., arXiv 1810.02340.
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _alexnet(1024, input_shape, classes, activation, blocks, name)


def alexnet_b(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="alexnet_b",
):
    """AlexNet-b: like `alexnet_s`, with dense layers of 2048; 8,501,322 trainable parameters.

    Example:

    >>> alexnet_b(width=0.25).name
    'alexnet_b'
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _alexnet(2048, input_shape, classes, activation, blocks, name)


def _alexnet(units, input_shape, classes, activation, blocks, name):
    check_image(input_shape, 1, "AlexNet")
    x = inputs = keras.Input(input_shape)
    for i, (filters, size) in enumerate(_CONVS, 1):
        x = blocks.conv_bn_relu(x, filters, size, f"conv{i}", strides=2)
    x = layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = blocks.dense_bn_relu(x, units, f"dense{i}")
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)
