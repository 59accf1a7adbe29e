"""A plain network of seven convolutions."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image

_FILTERS = ((64,), (128, 128), (256, 256), (512, 512))


def basicnet(
    input_shape=(32, 32, 3),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="basicnet",
):
    """Seven 3x3 convolutions with batch normalisation, for implicit filter sparsity on CIFAR.

    The paper's BasicNet has seven convolutions; its widths are not published. Ours are 64, 128,
    128, 256, 256, 512 and 512, with a pooling after the first, third and fifth, and a global
    average at the end: 4,655,434 trainable parameters on CIFAR-10.

    Args:
        input_shape: `(height, width, channels)`, at least 8 pixels high and wide.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden channels.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: an image that is too small for three poolings, or a width not above 0.

    Example:

    >>> basicnet(width=0.5).name
    'basicnet'

    Reference:
        Mehta et al., On implicit filter level sparsity in convolutional neural networks,
        arXiv 1811.12495.
    """
    check_image(input_shape, 8, "BasicNet")
    blocks = Blocks(width, kernel_initializer, kernel_regularizer)
    x = inputs = keras.Input(input_shape)
    number = 0
    for i, filters in enumerate(_FILTERS, 1):
        for count in filters:
            number += 1
            x = blocks.conv_bn_relu(x, count, 3, f"conv{number}")
        if i < len(_FILTERS):
            x = layers.MaxPooling2D(name=f"pool{i}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)
