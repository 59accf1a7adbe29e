"""Sparse momentum on MNIST by the start of the network."""

import math

import keras

from apps.tables import recipes
from apps.tables.sparse_momentum_mnist import PUBLISHED
from apps.tables.table import Row, Table

_DENSITIES = {"LeNet-300-100": (0.01, 0.05, 0.2), "LeNet-5": (0.01,)}
# The initializer of kernels, and whether biases start as PyTorch's do.
_VARIANTS = {
    "PyTorch's, kernels": (recipes.PYTORCH_START, False),
    "PyTorch's, biases too": (recipes.PYTORCH_START, True),
    "Keras'": ("glorot_uniform", False),
}


def _model(network, kernel_initializer, pytorch_biases):
    build = recipes.network(recipes.LENETS[network], kernel_initializer=kernel_initializer)

    def changed(dataset):
        model = build(dataset)
        for layer in model.layers:
            if pytorch_biases and layer.weights:
                layer.bias.regularizer = keras.regularizers.L2(recipes.L2)
                bound = math.prod(layer.kernel.shape[:-1]) ** -0.5
                layer.bias.assign(keras.random.uniform(layer.bias.shape, -bound, bound))
        return model

    return changed


TABLE = Table(
    title="Sparse momentum on MNIST by the start",
    reference="Sparse networks from scratch, arXiv 1907.04840, MNIST",
    rows=tuple(
        Row(
            labels={"network": network, "start": variant, "weights": f"{100 * density:g}%"},
            model=_model(network, *start),
            optimizer=recipes.sparse_momentum(density),
            batch_size=recipes.BATCH_SIZE,
            published={"error": PUBLISHED[network][density]},
        )
        for network, densities in _DENSITIES.items()
        for variant, start in _VARIANTS.items()
        for density in densities
    ),
    columns=recipes.COLUMNS,
    measure=recipes.measure,
    epochs=recipes.EPOCHS,
    held_out=0.1,
    notes="""\
The recipe of sparse_momentum_mnist; the first rows are also there. PyTorch's start:
uniform in ±1/√fan_in; Keras': kernels in ±√(6 / (fan_in + fan_out)), biases zero. With PyTorch's
biases go its weight decay of biases.""",
)
