"""The VGGs that the papers train on CIFAR."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image

# Filters by block; one tuple for each pooling.
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)


def vgg16_d(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="vgg16_d",
):
    """VGG16-D of sparse momentum and SNIP: 13 convolutions, dense 512 and 512.

    Each convolution and each hidden dense layer has a bias, batch normalisation and a ReLU; a
    pooling ends each of the five blocks. 15,255,626 trainable parameters on CIFAR-10, of which
    15,239,872 are prunable.

    Args:
        input_shape: `(height, width, channels)`, at least 32 pixels high and wide.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden channels.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: an image that is too small for five poolings, or a width not above 0.

    Example:

    >>> model = vgg16_d()
    >>> sum(w.value.numpy().size for w in model.trainable_variables)
    15255626

    Reference:
        Simonyan and Zisserman, arXiv 1409.1556; in this form Lee et al., arXiv 1810.02340.
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _vgg(_VGG16, (512, 512), input_shape, classes, activation, blocks, name)


def vgg16_c(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="vgg16_c",
):
    """VGG16-C: as `vgg16_d`, with a 1x1 kernel in the third convolution of blocks 3 to 5.

    It has 11,323,466 trainable parameters on CIFAR-10, as in the papers. As in the papers, the 1x1
    convolutions pad by 1, like the 3x3 convolutions. So images grow by 2 there, and 2x2 pixels
    reach the dense layers. See `vgg16_d` for the arguments.

    Example:

    >>> vgg16_c(width=0.5).name
    'vgg16_c'
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _vgg(_VGG16, (512, 512), input_shape, classes, activation, blocks, name, third_kernel=1)


def vgg16_like(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="vgg16_like",
):
    """VGG-like: as `vgg16_d`, with one hidden dense layer of 512.

    See `vgg16_d` for the arguments.

    Example:

    >>> vgg16_like(classes=100).output_shape
    (None, 100)
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _vgg(_VGG16, (512,), input_shape, classes, activation, blocks, name)


def vgg16_bn(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="vgg16_bn",
):
    """VGG16 with batch normalisation for CIFAR, as RDA's paper trains it: no hidden dense layer.

    14,728,266 trainable parameters on CIFAR-10. See `vgg16_d` for the arguments.

    Example:

    >>> vgg16_bn().layers[-1].name
    'logits'
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _vgg(_VGG16, (), input_shape, classes, activation, blocks, name)


def vgg19_bn(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="vgg19_bn",
):
    """VGG19 with batch normalisation for CIFAR: 16 convolutions, no hidden dense layer.

    20,040,522 trainable parameters on CIFAR-10. See `vgg16_d` for the arguments.

    Example:

    >>> vgg19_bn().layers[-1].name
    'logits'
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    return _vgg(_VGG19, (), input_shape, classes, activation, blocks, name)


def _vgg(convs, hidden, input_shape, classes, activation, blocks, name, third_kernel=3):
    check_image(input_shape, 32, "VGG")
    x = inputs = keras.Input(input_shape)
    for i, filters in enumerate(convs, 1):
        for j, count in enumerate(filters, 1):
            size = third_kernel if j == 3 else 3
            if size == 1:
                x = layers.ZeroPadding2D(name=f"block{i}_pad")(x)
            x = blocks.conv_bn_relu(x, count, size, f"block{i}_conv{j}")
        x = layers.MaxPooling2D(name=f"block{i}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    for i, units in enumerate(hidden, 1):
        x = blocks.dense_bn_relu(x, units, f"dense{i}")
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)
