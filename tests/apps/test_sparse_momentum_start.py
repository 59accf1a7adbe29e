"""The variants of the recipe are what they are called."""

import types

import numpy as np
import pytest
from keras import ops

from apps.tables.sparse_momentum_start import TABLE
from apps.training.networks import network

MNIST = types.SimpleNamespace(input_shape=(28, 28, 1), classes=10)


@pytest.mark.parametrize(
    ("key", "penalties", "bounds"),
    [
        ("lenet-300-100-pytorch-s-kernels-5", 3, [1 / 28, 300**-0.5, 0.1]),
        ("lenet-300-100-pytorch-s-biases-too-5", 6, [1 / 28, 300**-0.5, 0.1]),
        ("lenet-300-100-keras-5", 3, [np.sqrt(6 / 1084), np.sqrt(6 / 400), np.sqrt(6 / 110)]),
        ("lenet-5-pytorch-s-biases-too-1", 8, [0.2, 500**-0.5, 800**-0.5, 500**-0.5]),
    ],
)
def test_penalties_and_start(key, penalties, bounds):
    (row,) = (row for row in TABLE.rows if row.key == key)
    model = network(MNIST, TABLE.config(row).network, seed=0)
    assert len(model.losses) == penalties
    layers = [layer for layer in model.layers if layer.weights]
    for layer, bound in zip(layers, bounds, strict=True):
        kernel, bias = (ops.convert_to_numpy(ops.max(ops.abs(v))) for v in layer.weights)
        assert 0.9 * bound < kernel <= bound
        assert (bias > 0.5 * bound) == ("biases" in key)
        assert bias <= bound
