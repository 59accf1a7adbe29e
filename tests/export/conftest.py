import keras
import numpy as np
import pytest
from keras import layers


class Counter(layers.Layer):
    """Counts its calls: a model with state, which a TFLite file keeps in variables."""

    def build(self, shape):
        self.count = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, inputs):
        self.count.assign_add(1.0)
        return inputs + self.count


class Determinant(layers.Layer):
    """An operator that LiteRT does not have."""

    def call(self, inputs):
        import tensorflow as tf

        return tf.linalg.det(keras.ops.reshape(inputs, (-1, 2, 2)))


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3)])


@pytest.fixture
def stateful_model():
    return keras.Sequential([keras.Input((4,)), Counter()])


@pytest.fixture
def flex_model():
    return keras.Sequential([keras.Input((4,)), Determinant()])


@pytest.fixture
def nan_model():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(3)(keras.ops.sqrt(inputs - 1e3)))


@pytest.fixture
def samples():
    return np.random.default_rng(1).normal(size=(5, 4)).astype("float32")


@pytest.fixture(scope="session")
def tflite_files(tmp_path_factory):
    """Two files, the second of a network of eight times the width."""
    import export

    folder = tmp_path_factory.mktemp("tflite")
    paths = []
    for width in (16, 128):
        network = keras.Sequential(
            [keras.Input((16, 16, 8)), layers.Conv2D(width, 3, activation="relu")]
        )
        paths.append(str(folder / f"width{width}.tflite"))
        export.convert(network, paths[-1])
    return paths
