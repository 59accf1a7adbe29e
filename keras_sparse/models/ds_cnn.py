"""The depthwise separable network of MLPerf Tiny's keyword spotting."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image

_DROPOUT = 0.2
_BLOCKS = 4


def ds_cnn(
    input_shape=(49, 10, 1),
    classes=12,
    activation=None,
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="ds_cnn",
):
    """DS-CNN of MLPerf Tiny's keyword spotting: 49 frames of 10 coefficients, 64 channels.

    It has 24,908 parameters, including the averages of batch normalisation. The benchmark requires
    90% accuracy on Speech Commands.

    Args:
        input_shape: `(frames, coefficients, channels)`, at least 4 frames and 4 coefficients.
        classes: int, number of outputs.
        activation: of the outputs. Defaults to None, logits.
        width: float, multiplies all counts of hidden channels.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: an input that is too small, or a width not above 0.

    Example:

    >>> ds_cnn().count_params()
    24908

    Reference:
        Zhang et al., Hello edge, arXiv 1711.07128; Banbury et al., MLPerf Tiny benchmark,
        arXiv 2106.07597, with the layers of its reference model.
    """
    check_image(input_shape, 4, "DS-CNN")
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    inputs = keras.Input(input_shape)
    x = blocks.conv_bn_relu(inputs, 64, (10, 4), "conv1", strides=2)
    x = layers.Dropout(_DROPOUT, name="dropout1")(x)
    for i in range(1, _BLOCKS + 1):
        x = blocks.bn_relu(blocks.depthwise(x, 3, f"block{i}_depthwise"), f"block{i}_depthwise")
        x = blocks.conv_bn_relu(x, 64, 1, f"block{i}_pointwise")
    x = layers.Dropout(2 * _DROPOUT, name="dropout2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)
