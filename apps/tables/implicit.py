"""Networks, optimizers and figures of the tables on implicit filter sparsity."""

import keras
import numpy as np
from keras import layers, optimizers

from apps.tables import training
from apps.tables.table import Column, Row
from keras_sparse import channels

# |w| of a dead unit falls through all of float32, so that any small threshold finds it.
DEAD = 1e-6
NEARLY_DEAD = 1e-3
COLUMNS = {
    "dead": Column("dead, %"),
    "nearly_dead": Column("norm below 1e-3, %"),
    "accuracy": Column("test accuracy, %"),
}
ACTIVATIONS = {
    "ReLU": "relu",
    "ELU": "elu",
    "LeakyReLU": "leaky_relu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
}
OPTIMIZERS = {
    "Adam": lambda rate, decay: optimizers.Adam(rate),
    "RMSprop": lambda rate, decay: optimizers.RMSprop(rate),
    "AMSGrad": lambda rate, decay: optimizers.Adam(rate, amsgrad=True),
    "AdamW": lambda rate, decay: optimizers.AdamW(rate, weight_decay=decay),
    "momentum SGD": lambda rate, decay: optimizers.SGD(rate, momentum=0.9),
    "Adagrad": lambda rate, decay: optimizers.Adagrad(rate),
}
# Keras' own rate, to show that the run is too short for it.
SLOW_ADAM = "Adam 0.001"
_MAKERS = {**OPTIMIZERS, SLOW_ADAM: OPTIMIZERS["Adam"]}

# For a run as long as the papers'.
RATES = {
    **dict.fromkeys(("Adam", "RMSprop", "AMSGrad", "AdamW", SLOW_ADAM), 1e-3),
    "momentum SGD": 0.1,
    "Adagrad": 0.01,
}
# A dying unit loses about the rate in each step of an adaptive optimizer, so rate × steps counts:
# ten times Keras' default makes up for a run that is that much shorter than the paper's.
FAST_RATES = {**RATES, **dict.fromkeys(("Adam", "RMSprop", "AMSGrad", "AdamW"), 1e-2)}


def optimizer(name, l2, rates=FAST_RATES):
    """What makes an optimizer whose rate is halved after each quarter of the run.

    Args:
        name: one of `OPTIMIZERS`, or `SLOW_ADAM`.
        l2: c of the regularizer c·Σw²; for AdamW, whose network has none, 2c is the decay.
        rates: `{name: the rate of the first quarter}`.

    Returns:
        A function of a `training.Run`.
    """

    def build(run):
        schedule = optimizers.schedules.PiecewiseConstantDecay(
            [run.steps * quarter // 4 for quarter in (1, 2, 3)],
            [rates[name] / 2**halvings for halvings in range(4)],
        )
        return _MAKERS[name](schedule, 2 * l2)

    return build


def regularizer(name, l2):
    """L2 of the kernels, or None where the optimizer decays weights by itself or `l2` is 0."""
    return None if name == "AdamW" or not l2 else keras.regularizers.L2(l2)


def dense_network(
    activation, kernel_regularizer, units=1000, normalisation=layers.BatchNormalization
):
    """What makes one hidden layer, batch normalised before its activation.

    Args:
        activation: a name that Keras knows, or a function.
        kernel_regularizer: a regularizer or None.
        units: int, width of the hidden layer.
        normalisation: what makes the normalisation, or None for a bias in its place.

    Returns:
        A function of a data set that gives a `keras.Model`.
    """

    def build(dataset):
        inputs = keras.Input(dataset.input_shape)
        x = layers.Flatten()(inputs)
        x = layers.Dense(
            units,
            use_bias=normalisation is None,
            kernel_regularizer=kernel_regularizer,
            name="hidden",
        )(x)
        x = normalisation()(x) if normalisation else x
        x = layers.Activation(activation)(x)
        outputs = layers.Dense(
            dataset.classes, kernel_regularizer=kernel_regularizer, name="logits"
        )(x)
        return keras.Model(inputs, outputs)

    return build


def convolutional_network(activation, kernel_regularizer, width=1.0):
    """What makes three batch normalised 3x3 convolutions of 16, 32 and 32 filters.

    The first two halve the image by their stride, and a global average and the classifier
    follow the third.

    Args:
        activation: a name that Keras knows.
        kernel_regularizer: a regularizer or None.
        width: float, multiplies the numbers of filters.

    Returns:
        A function of a data set that gives a `keras.Model`.
    """

    def build(dataset):
        x = inputs = keras.Input(dataset.input_shape)
        for i, (filters, strides) in enumerate(((16, 2), (32, 2), (32, 1)), 1):
            x = layers.Conv2D(
                round(width * filters),
                3,
                strides,
                padding="same",
                use_bias=False,
                kernel_regularizer=kernel_regularizer,
                name=f"conv{i}",
            )(x)
            x = layers.BatchNormalization()(x)
            x = layers.Activation(activation)(x)
        x = layers.GlobalAveragePooling2D()(x)
        outputs = layers.Dense(
            dataset.classes, kernel_regularizer=kernel_regularizer, name="logits"
        )(x)
        return keras.Model(inputs, outputs)

    return build


def row(network, activation, optimizer_name, l2):
    """A row of optimizer, regularizer and activation, trained with batches of 64.

    Args:
        network: `dense_network` or `convolutional_network`.
        activation: one of `ACTIVATIONS`.
        optimizer_name, l2: as `optimizer` takes them.

    Returns:
        A `Row`.
    """
    return Row(
        labels={
            "optimizer": optimizer_name,
            "regularizer": "L2" if l2 else "none",
            "activation": activation,
        },
        model=network(ACTIVATIONS[activation], regularizer(optimizer_name, l2)),
        optimizer=optimizer(optimizer_name, l2),
        batch_size=64,
    )


def measure(model, dataset):
    """Shares of the units and filters whose incoming weights are gone, and accuracy, in percent."""
    hidden = [layer for layer in channels.layers_with_channels(model) if layer.name != "logits"]
    norms = np.concatenate([channels.channel_norms(layer) for layer in hidden])
    return {
        "dead": 100 * float((norms < DEAD).mean()),
        "nearly_dead": 100 * float((norms < NEARLY_DEAD).mean()),
        "accuracy": 100 * training.accuracy(model, dataset),
    }
