"""The MobileNet of MLPerf Tiny."""

import keras
from keras import layers

from keras_sparse.models.blocks import Blocks, check_image

# Filters and stride of each depthwise separable convolution, at full width.
_SEPARABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1),) * 5,
    *((1024, 2), (1024, 1)),
)


def mobilenet_v1(
    input_shape=(96, 96, 3),
    classes=2,
    activation=None,
    width=0.25,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="mobilenet_v1",
):
    """MobileNetV1 of MLPerf Tiny's visual wake words: a quarter of the width, 96x96 pixels.

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
        ValueError: an image that is too small, or a width not above 0.

    Example:

    >>> mobilenet_v1().count_params()
    221794

    Reference:
        Howard et al., arXiv 1704.04861; Banbury et al., MLPerf Tiny benchmark, arXiv 2106.07597.
    """
    check_image(input_shape, 32, "MobileNetV1")
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    inputs = keras.Input(input_shape)
    x = blocks.conv_bn_relu(inputs, 32, 3, "conv1", strides=2)
    for i, (filters, strides) in enumerate(_SEPARABLE, 1):
        x = blocks.bn_relu(
            blocks.depthwise(x, 3, f"block{i}_depthwise", strides), f"block{i}_depthwise"
        )
        x = blocks.conv_bn_relu(x, filters, 1, f"block{i}_pointwise")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, blocks.classifier(x, classes, activation), name=name)
