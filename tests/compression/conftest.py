"""A small trained network, made once."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def digits():
    """`(training, held out)` images and labels of 8x8 digits."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = (data.images[order, ..., None] / 16).astype("float32")
    y = data.target[order]
    return (x[:1200], y[:1200]), (x[1200:], y[1200:])


def network():
    """Two coupled convolutions with batch normalisation, one by itself, a dense layer."""
    x = keras.Input((8, 8, 1))
    y = layers.Conv2D(12, 3, padding="same", use_bias=False, name="stem")(x)
    start = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.Conv2D(16, 3, padding="same", name="inner")(start)
    y = layers.Conv2D(12, 3, padding="same", name="second")(layers.ReLU()(y))
    y = layers.ReLU()(layers.Add(name="sum")([start, y]))
    y = layers.Conv2D(24, 3, strides=2, name="last", activation="relu")(y)
    return keras.Model(x, layers.Dense(10, name="logits")(layers.GlobalAveragePooling2D()(y)))


@pytest.fixture(scope="module")
def trained(digits):
    """The network after a short training, compiled."""
    keras.utils.set_random_seed(0)
    model = network()
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(*digits[0], batch_size=64, epochs=4, verbose=0)
    return model
