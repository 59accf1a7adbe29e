"""Why units die with Adam and L2: because they are inactive, or for another reason?"""

import functools

import keras
import numpy as np
from keras import layers, ops

from apps.reproduction import implicit
from apps.reproduction.table import Column, Row, Table
from keras_sparse import channels

_L2 = 5e-4
_IMAGES = 2000
_ACTIVATIONS = {
    "ReLU": "relu",
    "tanh": "tanh",
    "2·sigmoid − 1": lambda x: 2.0 * ops.sigmoid(x) - 1.0,
    "identity": "linear",
    "tanh + 1": lambda x: ops.tanh(x) + 1.0,
    "sigmoid": "sigmoid",
}
_NORMALISATIONS = {
    "full": layers.BatchNormalization,
    "without γ": functools.partial(layers.BatchNormalization, scale=False),
    "none": None,
}


def _row(activation, normalisation="full", units=1000):
    network = implicit.dense_network(
        _ACTIVATIONS[activation], units, _NORMALISATIONS[normalisation]
    )
    return Row(
        labels={
            "activation": activation,
            "batch normalisation": normalisation,
            "units": str(units),
        },
        changes={"model": network},
    )


def measure(model, dataset):
    """The figures of all implicit tables, and slope and γ of the dead units."""
    figures = implicit.measure(model, dataset)
    dead = channels.channel_norms(model.get_layer("hidden")) < implicit.DEAD
    if not dead.any():
        return figures
    (activation,) = (layer for layer in model.layers if isinstance(layer, layers.Activation))
    before = keras.Model(model.inputs, activation.input)
    x = before.predict(dataset.x_test[:_IMAGES], verbose=0)[:, dead]
    low, high = (ops.convert_to_numpy(activation(x + step)) for step in (-1e-2, 1e-2))
    figures["slope"] = float(np.abs(high - low).mean() / 2e-2)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization) and layer.scale:
            gamma = ops.convert_to_numpy(layer.gamma)[dead]
            figures["gamma"] = float(np.abs(gamma).mean())
    return figures


TABLE = Table(
    title="What units die of under Adam with L2, MNIST",
    reference="Adam induces implicit weight sparsity in rectifier networks, arXiv 1812.08119",
    settings={**implicit.MNIST, "epochs": 16, **implicit.settings("Adam", _L2)},
    rows=(
        *(_row(activation) for activation in _ACTIVATIONS),
        *(_row(name, kind) for name in ("ReLU", "tanh") for kind in ("without γ", "none")),
        *(_row(name, units=100) for name in ("ReLU", "tanh")),
    ),
    columns={
        **implicit.COLUMNS,
        "slope": Column("slope of the dead"),
        "gamma": Column("γ of the dead", ".1g"),
    },
    measure=measure,
    notes="""\
The network of implicit_mnist under Adam with L2(5e-4). Slope: the mean |derivative| of the
activation at the dead units, over the first 2,000 test images; zero says that they are shut. γ:
the mean |γ| of their batch normalisation, which has no regularizer. Without batch normalisation
the hidden layer has biases.""",
)
