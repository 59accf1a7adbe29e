"""A small convolutional network with batch normalisation, for images of any size."""

import functools

import keras
from keras import layers

from keras_sparse.models.blocks import channels_at, check_image, kernel_arguments


def small_cnn(
    input_shape=(28, 28, 1),
    classes=10,
    activation=None,
    width=1.0,
    kernel_initializer="glorot_uniform",
    kernel_regularizer=None,
    name="small_cnn",
):
    """Three 3x3 convolutions of 32, 64 and 64 channels, batch normalised, then a dense layer.

    Pooling halves the image after the first two, and a global average follows the third. On one
    input channel and 10 classes it has 56,874 parameters.

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

    Example:

    >>> small_cnn(input_shape=(8, 8, 1)).count_params()
    56874
    """
    check_image(input_shape, 4, "SmallCNN")
    kernel = functools.partial(kernel_arguments, kernel_initializer, kernel_regularizer)
    x = inputs = keras.Input(input_shape)
    for i, count in enumerate((32, 64, 64), 1):
        filters = channels_at(width, count)
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv{i}", **kernel())(
            x
        )
        # Small data sets have few steps per epoch; averages with the default of 0.99 would lag
        # behind.
        x = layers.BatchNormalization(momentum=0.9, name=f"conv{i}_bn")(x)
        x = layers.ReLU(name=f"conv{i}_relu")(x)
        if i < 3:
            x = layers.MaxPooling2D(name=f"pool{i}")(x)
    x = layers.GlobalAveragePooling2D(name="pool3")(x)
    outputs = layers.Dense(classes, activation, name="logits", **kernel())(x)
    return keras.Model(inputs, outputs, name=name)
