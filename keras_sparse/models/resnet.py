"""Residual networks: ResNet-18 of CIFAR and ImageNet, ResNet-50, ResNet-8 of MLPerf Tiny."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image


def resnet_8(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="resnet_8",
):
    """ResNet-8 of MLPerf Tiny's image classification: three blocks of 16, 32 and 64 channels.

    It has 78,666 parameters on CIFAR-10, including the averages of batch normalisation. The
    benchmark requires 85% accuracy.

    Args:
        input_shape: `(height, width, channels)`, at least 4 pixels high and wide.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden channels.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: an image that is too small, or a width not above 0.

    Example:

    >>> resnet_8().count_params()
    78666

    Reference:
        Banbury et al., MLPerf Tiny benchmark, arXiv 2106.07597.
    """
    check_image(input_shape, 4, "ResNet-8")
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    inputs = keras.Input(input_shape)
    x = blocks.conv_bn_relu(inputs, 16, 3, "conv1")
    for i, count in enumerate((16, 32, 64), 1):
        filters, strides, stage = blocks.channels(count), 1 if i == 1 else 2, f"stage{i}"
        shortcut = x if i == 1 else blocks.conv(x, filters, 1, f"{stage}_shortcut", strides)
        x = blocks.conv(x, filters, 3, f"{stage}_conv1", strides)
        x = blocks.bn_relu(x, f"{stage}_conv1")
        x = blocks.bn(blocks.conv(x, filters, 3, f"{stage}_conv2"), f"{stage}_conv2_bn")
        x = _add_relu(x, shortcut, stage)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)


def resnet_18(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    stem="cifar",
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="resnet_18",
):
    """ResNet-18: four stages of two blocks, 64 to 512 channels.

    It has 11,173,962 trainable parameters on CIFAR-10 with the CIFAR stem, and 11,689,512 on
    ImageNet with 1000 classes and the ImageNet stem.

    Args:
        input_shape: `(height, width, channels)`.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden channels.
        stem: `"cifar"`, one 3x3 convolution, or `"imagenet"`, a 7x7 one of stride 2 and a pooling.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: an unknown stem, a shape without a channel axis, or a width not above 0.

    Example:

    >>> model = resnet_18((224, 224, 3), 1000, stem="imagenet")

    Reference:
        He et al., Deep residual learning for image recognition, arXiv 1512.03385.
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer)
    return _resnet(_basic_block, (2, 2, 2, 2), stem, input_shape, classes, activation, blocks, name)


def resnet_50(
    input_shape=(224, 224, 3),
    classes=1000,
    activation=None,
    width=1.0,
    stem="imagenet",
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="resnet_50",
):
    """ResNet-50: bottleneck blocks, with the stride in the 3x3 convolution ("v1.5").

    25,557,032 trainable parameters on ImageNet. See `resnet_18` for the arguments.

    Example:

    >>> resnet_50(width=0.25).name
    'resnet_50'
    """
    blocks = Blocks(width, kernel_initializer, kernel_regularizer)
    return _resnet(
        _bottleneck_block, (3, 4, 6, 3), stem, input_shape, classes, activation, blocks, name
    )


def _resnet(block, counts, stem, input_shape, classes, activation, blocks, name):
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"`stem` must be 'cifar' or 'imagenet'. Received: stem={stem!r}")
    check_image(input_shape, 8 if stem == "cifar" else 32, f"A ResNet with the {stem} stem")
    inputs = keras.Input(input_shape)
    if stem == "cifar":
        x = blocks.conv_bn_relu(inputs, 64, 3, "conv1")
    else:
        x = blocks.conv_bn_relu(inputs, 64, 7, "conv1", strides=2)
        x = layers.MaxPooling2D(3, 2, "same", name="pool1")(x)
    for stage, count in enumerate(counts, 1):
        for number in range(1, count + 1):
            strides = 2 if stage > 1 and number == 1 else 1
            filters = blocks.channels(64 * 2 ** (stage - 1))
            x = block(blocks, x, filters, strides, f"stage{stage}_block{number}")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)


def _basic_block(blocks, x, filters, strides, name):
    shortcut = _shortcut(blocks, x, filters, strides, name)
    x = blocks.bn_relu(blocks.conv(x, filters, 3, f"{name}_conv1", strides), f"{name}_conv1")
    x = blocks.bn(blocks.conv(x, filters, 3, f"{name}_conv2"), f"{name}_conv2_bn")
    return _add_relu(x, shortcut, name)


def _bottleneck_block(blocks, x, filters, strides, name):
    shortcut = _shortcut(blocks, x, 4 * filters, strides, name)
    x = blocks.bn_relu(blocks.conv(x, filters, 1, f"{name}_conv1"), f"{name}_conv1")
    x = blocks.bn_relu(blocks.conv(x, filters, 3, f"{name}_conv2", strides), f"{name}_conv2")
    x = blocks.bn(blocks.conv(x, 4 * filters, 1, f"{name}_conv3"), f"{name}_conv3_bn")
    return _add_relu(x, shortcut, name)


def _shortcut(blocks, x, filters, strides, name):
    if x.shape[-1] == filters and strides == 1:
        return x
    return blocks.bn(blocks.conv(x, filters, 1, f"{name}_shortcut", strides), f"{name}_shortcut_bn")


def _add_relu(x, shortcut, name):
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, shortcut]))
