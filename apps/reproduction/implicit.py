"""Networks, optimizers and figures of the tables on implicit filter sparsity."""

import keras
import numpy as np
from keras import layers

from apps.reproduction import training
from apps.reproduction.table import Column, Row
from keras_sparse import channels

# |w| of a dead unit falls to the smallest float32 numbers, so any small threshold finds it.
DEAD = 1e-6
NEARLY_DEAD = 1e-3
MNIST = {"dataset": "mnist", "unit_pixels": True, "batch_size": 64}
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
    "Adam": {"optimizer": "adam"},
    "RMSprop": {"optimizer": "rmsprop"},
    "AMSGrad": {"optimizer": "adam", "amsgrad": True},
    "AdamW": {"optimizer": "adamw"},
    "momentum SGD": {"optimizer": "sgd", "momentum": 0.9},
    "Adagrad": {"optimizer": "adagrad"},
}
# Keras' default rate, to show that the run is too short for it.
SLOW_ADAM = "Adam 0.001"

# Rates for a run as long as in the papers.
RATES = {
    **dict.fromkeys(("Adam", "RMSprop", "AMSGrad", "AdamW", SLOW_ADAM), 1e-3),
    "momentum SGD": 0.1,
    "Adagrad": 0.01,
}
# In each step of an adaptive optimizer a dying unit loses about the rate, so rate × steps decides.
# Ten times Keras' default compensates for a run that is much shorter than the paper's.
FAST_RATES = {**RATES, **dict.fromkeys(("Adam", "RMSprop", "AMSGrad", "AdamW"), 1e-2)}


def settings(name, l2, rates=FAST_RATES):
    """Settings of an optimizer; its rate is halved after each quarter of the run.

    Args:
        name: one of `OPTIMIZERS`, or `SLOW_ADAM`.
        l2: c of the regularizer c·Σw²; AdamW has no regularizer and a decay of 2c instead.
        rates: `{name: rate of the first quarter}`.
    """
    decays = name == "AdamW"
    return {
        **OPTIMIZERS["Adam" if name == SLOW_ADAM else name],
        "schedule": "staged",
        "stages": tuple(rates[name] / 2**halvings for halvings in range(4)),
        "stage_starts": (0.25, 0.5, 0.75),
        **({"weight_decay": 2 * l2} if decays else {"l2": l2}),
    }


def dense_network(activation, units=1000, normalisation=layers.BatchNormalization):
    """A function that makes a network with one hidden layer, batch normalised before activation.

    Args:
        activation: a name in Keras, or a function.
        units: int, width of the hidden layer.
        normalisation: function that makes the normalisation, or None for a bias instead.

    Returns:
        A function like those of `keras_sparse.models`.
    """

    def build(input_shape, classes, kernel_regularizer=None):
        inputs = keras.Input(input_shape)
        x = layers.Flatten()(inputs)
        x = layers.Dense(
            units,
            use_bias=normalisation is None,
            kernel_regularizer=kernel_regularizer,
            name="hidden",
        )(x)
        x = normalisation()(x) if normalisation else x
        x = layers.Activation(activation)(x)
        outputs = layers.Dense(classes, kernel_regularizer=kernel_regularizer, name="logits")(x)
        return keras.Model(inputs, outputs)

    return build


def convolutional_network(activation):
    """A function that makes a network of three batch normalised 3x3 convolutions.

    They have 16, 32 and 32 filters. The first two halve the image by their stride. A global average
    and the classifier follow the third.

    Args:
        activation: a name in Keras.

    Returns:
        A function like those of `keras_sparse.models`.
    """

    def build(input_shape, classes, width=1.0, kernel_regularizer=None):
        x = inputs = keras.Input(input_shape)
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
        outputs = layers.Dense(classes, kernel_regularizer=kernel_regularizer, name="logits")(x)
        return keras.Model(inputs, outputs)

    return build


def row(network, activation, optimizer, l2):
    """A row for an optimizer, a regularizer and an activation.

    Args:
        network: `dense_network` or `convolutional_network`.
        activation: one of `ACTIVATIONS`.
        optimizer, l2: see `settings`.

    Returns:
        A `Row`.
    """
    return Row(
        labels={
            "optimizer": optimizer,
            "regularizer": "L2" if l2 else "none",
            "activation": activation,
        },
        changes={"model": network(ACTIVATIONS[activation]), **settings(optimizer, l2)},
    )


def measure(model, dataset):
    """Shares of dead units and filters, by their incoming weights, and accuracy, in percent."""
    hidden = [layer for layer in channels.layers_with_channels(model) if layer.name != "logits"]
    norms = np.concatenate([channels.channel_norms(layer) for layer in hidden])
    return {
        "dead": 100 * float((norms < DEAD).mean()),
        "nearly_dead": 100 * float((norms < NEARLY_DEAD).mean()),
        "accuracy": 100 * training.accuracy(model, dataset),
    }
