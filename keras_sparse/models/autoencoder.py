"""The autoencoder of MLPerf Tiny's anomaly detection."""

import keras

from keras_sparse.models.blocks import Blocks

_LAYERS, _UNITS, _CODE = 4, 128, 8


def autoencoder(
    input_shape=(640,),
    width=1.0,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="autoencoder",
):
    """Autoencoder of MLPerf Tiny's anomaly detection: four layers of 128 units, 8, and four again.

    It has 269,992 parameters, including the averages of batch normalisation; 267,928 are trained.
    The benchmark requires an AUC of 0.85 on ToyADMOS.

    Args:
        input_shape: `(features,)`: five frames of 128 mel bands.
        width: float, multiplies all counts of hidden units.
        kernel_initializer: of all kernels.
        kernel_regularizer: of all kernels.
        name: the model's name.

    Returns:
        A functional `keras.Model` whose output has the shape of its input.

    Raises:
        ValueError: an input of several axes, or a width not above 0.

    Example:

    >>> autoencoder().count_params()
    269992

    Reference:
        Koizumi et al., DCASE 2020 challenge task 2, arXiv 2006.05822; Banbury et al., MLPerf Tiny
        benchmark, arXiv 2106.07597, with the layers of its reference model.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"The autoencoder takes features in one axis. Received: input_shape={input_shape}"
        )
    blocks = Blocks(width, kernel_initializer, kernel_regularizer, use_bias=True)
    x = inputs = keras.Input(input_shape)
    for i in range(1, _LAYERS + 1):
        x = blocks.dense_bn_relu(x, _UNITS, f"encoder{i}")
    x = blocks.dense_bn_relu(x, _CODE, "code")
    for i in range(1, _LAYERS + 1):
        x = blocks.dense_bn_relu(x, _UNITS, f"decoder{i}")
    return keras.Model(inputs, blocks.dense(x, input_shape[0], "reconstruction"), name=name)
