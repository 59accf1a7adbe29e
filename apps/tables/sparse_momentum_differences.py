"""Sparse momentum at 1% of the weights: our recipe, and what the authors' code does besides."""

import keras

import keras_sparse
from apps.tables import recipes
from apps.tables.sparse_momentum_mnist import optimizer
from apps.tables.table import Row, Table

_PUBLISHED = 2.36


def _network(decays_biases=False, pytorch_start=False):
    start = keras_sparse.ScaledUniform(1.0) if pytorch_start else "glorot_uniform"
    build = recipes.network("lenet_300_100", kernel_initializer=start)

    def changed(dataset):
        model = build(dataset)
        for layer in model.layers:
            if not layer.weights:
                continue
            if decays_biases:
                layer.bias.regularizer = keras.regularizers.L2(recipes.L2)
            if pytorch_start:
                bound = layer.kernel.shape[0] ** -0.5
                layer.bias.assign(keras.random.uniform(layer.bias.shape, -bound, bound))
        return model

    return changed


_VARIANTS = {
    "as here": {},
    "biases decay too": {"decays_biases": True},
    "PyTorch's start": {"pytorch_start": True},
    "both": {"decays_biases": True, "pytorch_start": True},
}


TABLE = Table(
    title="Sparse momentum at 1% of the weights, our recipe and the authors' code",
    reference="Sparse networks from scratch, arXiv 1907.04840, MNIST",
    rows=tuple(
        Row(
            labels={"variant": variant},
            model=_network(**arguments),
            optimizer=optimizer(0.01),
            batch_size=recipes.BATCH_SIZE,
            published={"error": _PUBLISHED},
        )
        for variant, arguments in _VARIANTS.items()
    ),
    columns=recipes.COLUMNS,
    measure=recipes.measure,
    epochs=recipes.EPOCHS,
    held_out=0.1,
    notes="""\
The recipe of sparse_momentum_mnist on LeNet-300-100. PyTorch's start: kernels and biases uniform in
±1/√fan_in, where Keras has ±√(6 / (fan_in + fan_out)) and zero.""",
)
