"""Opened layers with their own weights, with tables, and with open sizes."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from tests.surgery.test_opening import Block, kill


class Token(layers.Layer):
    """A class token, a table of positions and a scale, and a block behind them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = Block(name="block")
        self.table = layers.Embedding(6, 6, name="table")

    def build(self, shape):
        self.token = self.add_weight(shape=(1, 1, 6), name="token", regularizer="l2")
        self.scale = self.add_weight(shape=(6,), name="scale", trainable=False)
        self.built = True

    def call(self, x):
        token = ops.tile(self.token, (ops.shape(x)[0], 1, 1))
        x = ops.concatenate([token, x * self.scale], axis=1)
        return self.block(x + self.table(ops.arange(6)))


class Causal(layers.Layer):
    """Attention written by hand, with a mask of an open length, and one dense layer for all."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.all = layers.Dense(3 * 8, name="all")
        self.last = layers.Dense(6, name="last")

    def call(self, x):
        batch, length = ops.shape(x)[0], ops.shape(x)[1]
        every = ops.reshape(self.all(x), (batch, length, 3, 2, 4))
        q, k, v = ops.unstack(ops.transpose(every, (2, 0, 3, 1, 4)), axis=0)
        order = ops.arange(length)
        mask = ops.broadcast_to(order[:, None] >= order[None, :], (batch, 1, length, length))
        scores = ops.where(mask, ops.einsum("bhqd,bhkd->bhqk", q, k), -1e9)
        mixed = ops.einsum("bhqk,bhkd->bqhd", ops.softmax(scores), v)
        return self.last(ops.reshape(mixed, (batch, length, 8)))


class Pair(layers.Layer):
    """Returns something beside a tensor."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(8, name="first"), layers.Dense(6, name="second")

    def build(self, shape):
        self.shift = self.add_weight(shape=(6,), name="shift")

    def call(self, x):
        return self.second(self.first(x)) + self.shift, None


class OfPair(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.pair = Pair(name="pair")

    def build(self, shape):
        self.pair.build(shape)
        self.pair.first.build(shape)
        self.pair.second.build((*shape[:-1], 8))

    def call(self, x):
        x, _ = self.pair(x)
        return x


def model_of(block, harness, length=5):
    x = keras.Input((length, 6), name="in")
    model = keras.Model(x, layers.Dense(3, name="out")(block(x)))
    harness.randomise(model)
    return model


def test_weights_of_a_layers_own_go_on_as_tables(harness, tmp_path):
    token = Token(name="vit")
    model = model_of(token, harness)
    kill(token.block.first)
    compact, report = harness.cut(model)
    assert report.channels["vit/block/x"] == (8, 5)
    assert report.channels["vit/token"] == (6, 6)
    own = compact.get_layer("token")
    assert (type(own), own.trainable, own.embeddings_regularizer.l2 > 0) == (
        layers.Embedding,
        True,
        True,
    )
    assert not compact.get_layer("scale").trainable
    assert len(compact.trainable_weights) == len(model.trainable_weights)
    compact.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras", custom_objects={})
    x = harness.rng.standard_normal((3, 5, 6))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), compact.predict(x, verbose=0))


def test_such_a_model_is_trained_as_before(harness):
    token = Token(name="vit")
    model = model_of(token, harness)
    token.block.drop.rate = 0.0
    kill(token.block.first)
    x, y = harness.rng.standard_normal((4, 5, 6)), harness.rng.standard_normal((4, 6, 3))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    model.compile(optimizer, "mse", run_eagerly=True)
    model.fit(x, y, verbose=0)
    kill(token.block.first)
    compact, report = harness.cut(model)
    compact.compile(surgery.slice_optimizer(optimizer, report, compact), "mse", run_eagerly=True)
    for each in (model, compact):
        # Dead units learn in the large model, but not before the second step.
        each.fit(x, y, verbose=0)
    for weight in (token.token, token.table.embeddings):
        path = next(new for new, cut in report.slices.items() if cut.source == weight.path)
        other = next(w for w in compact.weights if w.path == path)
        np.testing.assert_allclose(
            ops.convert_to_numpy(other).ravel(), ops.convert_to_numpy(weight).ravel(), rtol=1e-4
        )


def test_a_layer_with_such_weights_in_which_nothing_goes_stays(harness):
    model = model_of(Token(name="vit"), harness)
    compact, _ = harness.cut(model)
    assert type(compact.get_layer("vit")) is Token


def test_channels_of_such_weights_go(harness):
    class Scale(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.Dense(8, name="inner")

        def build(self, shape):
            self.gamma = self.add_weight(shape=(8,), name="gamma")

        def call(self, x):
            return self.inner(x) * self.gamma

    block = Scale(name="block")
    model = model_of(block, harness)
    gamma = np.arange(8.0) - 2
    block.gamma.assign(gamma)
    _, report = harness.cut(model)
    assert report.channels["block/gamma"] == report.channels["block/inner"] == (8, 7)
    group = next(g for g in surgery.channel_groups(model) if "block/gamma" in g.layers)
    assert group.size == 8


def test_a_mask_of_an_open_length(harness):
    block = Causal(name="block")
    model = model_of(block, harness, length=None)
    value = ops.convert_to_numpy(block.all.kernel).copy()
    value[:, [0, 8, 16, 20]] = 0.0  # a query, its key, and the first value of both heads
    block.all.kernel.assign(value)
    compact, report = harness.cut(model)
    assert report.channels["block/last"] == (6, 6)
    for length in (1, 3, 9):
        x = harness.rng.standard_normal((2, length, 6))
        np.testing.assert_allclose(
            compact.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5
        )


def test_a_layer_that_returns_more_than_tensors_is_looked_through(harness):
    block = OfPair(name="block")
    model = model_of(block, harness)
    kill(block.pair.first)
    _, report = harness.cut(model)
    assert report.channels["block/first"] == (8, 5)


class Switch(Block):
    def call(self, x, training=None):
        return super().call(x * 2.0 if training else x)


@pytest.mark.filterwarnings("ignore:.*is left whole")
def test_the_user_may_open_what_differs_in_training(harness):
    surgery.register_rule(Switch)(surgery.AtInference)
    block = Switch(name="block")
    model = model_of(block, harness)
    kill(block.first)
    assert harness.cut(model)[1].channels["block/x"] == (8, 5)
