"""Sparse momentum on LeNet-300-100 by the start of the network."""

import keras

from apps.tables import recipes
from apps.tables.sparse_momentum_mnist import PUBLISHED
from apps.tables.table import Row, Table

_DENSITIES = (0.01, 0.05, 0.2)


def _network(kernel_initializer, pytorch_biases=False):
    build = recipes.network("lenet_300_100", kernel_initializer=kernel_initializer)

    def changed(dataset):
        model = build(dataset)
        for layer in model.layers:
            if pytorch_biases and layer.weights:
                layer.bias.regularizer = keras.regularizers.L2(recipes.L2)
                bound = layer.kernel.shape[0] ** -0.5
                layer.bias.assign(keras.random.uniform(layer.bias.shape, -bound, bound))
        return model

    return changed


_VARIANTS = {
    "PyTorch's, kernels": _network(recipes.PYTORCH_START),
    "PyTorch's, biases too": _network(recipes.PYTORCH_START, pytorch_biases=True),
    "Keras'": _network("glorot_uniform"),
}


TABLE = Table(
    title="Sparse momentum on LeNet-300-100, MNIST, by the start",
    reference="Sparse networks from scratch, arXiv 1907.04840, MNIST",
    rows=tuple(
        Row(
            labels={"start": variant, "weights": f"{100 * density:g}%"},
            model=model,
            optimizer=recipes.sparse_momentum(density),
            batch_size=recipes.BATCH_SIZE,
            published={"error": PUBLISHED["LeNet-300-100"][density]},
        )
        for variant, model in _VARIANTS.items()
        for density in _DENSITIES
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
