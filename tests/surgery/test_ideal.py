"""The brute force beside which the table of model families is set."""

import keras
import numpy as np
import pytest
from keras import layers

from benchmarks.families_ideal import ideal_parameters

pytestmark = pytest.mark.tensorflow


def dense():
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(3)(layers.Dense(6, activation="relu", name="a")(x)))


def padded():
    x = keras.Input((5, 5, 2))
    return keras.Model(x, layers.Conv2D(3, 3, padding="same")(layers.Conv2D(4, 1, name="a")(x)))


def residual():
    x = keras.Input((4,))
    y = layers.Add()([layers.Dense(6, name="a")(x), layers.Dense(6)(x)])
    return keras.Model(x, layers.Dense(3)(y))


def normalized():
    x = keras.Input((4,))
    return keras.Model(
        x, layers.Dense(3)(layers.LayerNormalization()(layers.Dense(6, name="a")(x)))
    )


@pytest.mark.parametrize(
    ("make", "ideal"),
    [
        (dense, 4 * 4 + 4 + 4 * 3 + 3),
        # One of both stays, and carries the constants.
        (padded, 2 * 3 + 3 + 9 * 3 * 3 + 3),
        # They are alive in the other layer.
        (residual, 2 * (4 * 6 + 6) + 6 * 3 + 3),
        (normalized, 4 * 6 + 6 + 12 + 6 * 3 + 3),
    ],
)
def test_ideal(make, ideal, harness):
    model = make()
    harness.randomise(model)
    first = model.get_layer("a")
    kernel, bias = first.get_weights()
    kernel[..., :2] = 0
    first.set_weights([kernel, np.abs(bias) + 0.1])
    before = [weight.numpy() for weight in model.weights]
    assert ideal_parameters(model) == ideal
    for weight, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)
