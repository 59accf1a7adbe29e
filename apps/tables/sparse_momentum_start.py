"""Sparse momentum on MNIST by the initialization of the network."""

import math

import keras

from apps.reproduction import sparse
from apps.reproduction.table import Row, Table
from apps.tables.sparse_momentum_mnist import PUBLISHED
from keras_sparse import models

_DENSITIES = {"LeNet-300-100": (0.01, 0.05, 0.2), "LeNet-5": (0.01,)}
# s of the initial kernels, and whether biases are initialized as PyTorch's.
_VARIANTS = {
    "PyTorch's, kernels": (1.0, False),
    "PyTorch's, biases too": (1.0, True),
    "Keras'": (0.0, False),
}


def _with_biases(name):
    """A network with weight decay and PyTorch's initialization of biases."""

    def build(**arguments):
        model = getattr(models, name)(**arguments)
        for layer in model.layers:
            if layer.weights:
                layer.bias.regularizer = keras.regularizers.L2(sparse.L2)
                bound = math.prod(layer.kernel.shape[:-1]) ** -0.5
                layer.bias.assign(keras.random.uniform(layer.bias.shape, -bound, bound))
        return model

    return build


def _changes(network, scale, pytorch_biases):
    name = sparse.LENETS[network]
    return {"model": _with_biases(name) if pytorch_biases else name, "init_scale": scale}


TABLE = Table(
    title="Sparse momentum on MNIST by the initialization",
    reference="Sparse networks from scratch, arXiv 1907.04840, MNIST",
    settings=sparse.MNIST,
    rows=tuple(
        Row(
            labels={"network": network, "init": variant, "weights": f"{100 * density:g}%"},
            changes={**_changes(network, *start), **sparse.sparse_momentum(density)},
            published={"error": PUBLISHED[network][density]},
        )
        for network, densities in _DENSITIES.items()
        for variant, start in _VARIANTS.items()
        for density in densities
    ),
    columns=sparse.COLUMNS,
    measure=sparse.measure,
    notes="""\
The recipe of sparse_momentum_mnist; the first rows are also there. PyTorch's initialization:
uniform in ±1/√fan_in; Keras': kernels in ±√(6 / (fan_in + fan_out)), biases zero. With PyTorch's
biases go its weight decay of biases.""",
)
