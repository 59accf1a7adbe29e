"""How layers are called, and configurations that depend on the number of channels."""

import keras
import numpy as np
from keras import layers, ops

from keras_sparse import surgery


def without(layer, dead):
    """Make output channels of a `Dense` layer zero."""
    kernel = np.array(ops.convert_to_numpy(layer.kernel))
    kernel[:, dead] = 0
    layer.kernel.assign(kernel)


def test_a_nested_model_called_with_names():
    query, doc = keras.Input((8,), name="query"), keras.Input((8,), name="doc")
    left, right = layers.Dense(8, name="left"), layers.Dense(8, name="right")
    inner = keras.Model([query, doc], layers.Subtract()([left(query), right(doc)]))
    x, y = keras.Input((8,)), keras.Input((8,))
    model = keras.Model([x, y], layers.Dense(2)(inner({"query": x, "doc": y})))
    without(left, [0, 1])
    without(right, [1, 2])
    compact, report = surgery.remove_dead_channels(model)
    channels = {name.split("/")[-1]: pair for name, pair in report.channels.items()}
    assert channels["left"] == channels["right"] == (8, 7)
    _, zeroed = surgery.zero_channels(model, 0.0)
    assert zeroed.max_error == 0.0
    inputs = [np.eye(8), np.ones((8, 8))]
    np.testing.assert_allclose(compact.predict(inputs), model.predict(inputs), atol=1e-5)


def test_dropout_with_a_noise_shape_trains_on():
    x, first = keras.Input((6, 4)), layers.Dense(8, name="first")
    for layer in (layers.Dropout, layers.AlphaDropout):
        y = layer(0.5, noise_shape=(None, 1, 8))(first(x))
        model = keras.Model(x, layers.Dense(2)(layer(0.5, noise_shape=(None, 6, 1))(y)))
        without(first, [0, 1, 2])
        compact, report = surgery.remove_dead_channels(model)
        assert report.channels["first"] == (8, 5)
        assert compact(np.ones((2, 6, 4)), training=True).shape == (2, 6, 2)


def test_layer_normalization_of_positions():
    x, norm, last = keras.Input((8, 8)), layers.LayerNormalization(axis=1), layers.Dense(2)
    model = keras.Model(x, layers.Dense(3)(last(norm(x))))
    norm.gamma.assign([0.0, *np.ones(7)])
    kernel = np.array(ops.convert_to_numpy(last.kernel))
    kernel[1:, 0] = 0
    last.kernel.assign(kernel)
    _, report = surgery.remove_dead_channels(model)
    assert report.channels[last.name] == (2, 2)


def test_a_matrix_as_initializer(tmp_path):
    matrix = np.random.default_rng(0).random((9, 6))
    matrix[:, :2] = 0
    initializer = keras.initializers.Constant(matrix)
    tokens = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(9, 6, embeddings_initializer=initializer, name="words")
    model = keras.Model(tokens, layers.Dense(2, kernel_initializer="he_normal")(embedding(tokens)))
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["words"] == (6, 4)
    compact.save(tmp_path / "compact.keras")
    loaded = keras.models.load_model(tmp_path / "compact.keras")
    inputs = np.arange(5)[np.newaxis]
    np.testing.assert_allclose(loaded.predict(inputs), model.predict(inputs), atol=1e-5)
    assert isinstance(loaded.layers[-1].kernel_initializer, keras.initializers.HeNormal)


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


def test_zeroed_layers_with_the_same_name_are_all_reported():
    model = keras.Sequential([keras.Input((4,)), Block(name="a"), Block(name="b")])
    _, report = surgery.zero_channels(model, 1e-6)
    assert len(report.channels) == len(report.zeroed) == 2
