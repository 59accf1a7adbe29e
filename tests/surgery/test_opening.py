"""Layers of layers: seen as the layers in them, and themselves again where nothing changes."""

import contextlib
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery.tracing import unrecorded


class Block(layers.Layer):
    """A residual block."""

    last_name = "y"

    def __init__(self, width=6, hidden=8, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.LayerNormalization(name="norm")
        self.first = layers.Dense(hidden, activation="relu", name="x")
        self.drop = layers.Dropout(0.5)
        self.second = layers.Dense(width, name=self.last_name)

    def call(self, x, training=None):
        hidden = self.drop(self.first(self.norm(x)), training=training)
        return x + self.second(hidden)


class Deep(layers.Layer):
    """Three levels, and a layer that is called twice."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(name="a"), Block(name="b")]
        self.last = layers.Dense(6, name="last")

    def call(self, x):
        for block in self.blocks:
            x = block(block(x))
        return self.last(x)


class Outer(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.deep = Deep(name="deep")

    def call(self, inputs):
        left, right = inputs["left"], inputs["right"]
        return {"sum": self.deep(left) + right, "right": right}


def kill(layer, count=3):
    """The first columns become zero, so that the channels are constant."""
    value = ops.convert_to_numpy(layer.kernel).copy()
    value[..., :count] = 0
    layer.kernel.assign(value)


def model_of(*blocks, harness, size=6):
    x = keras.Input((5, size), name="in")
    y = x
    for block in blocks:
        y = block(y)
    model = keras.Model(x, layers.Dense(3, name="out")(y))
    harness.randomise(model)
    return model


def test_dead_channels_inside_are_removed(harness):
    changed, same = Block(name="changed"), Block(name="same")
    model = model_of(changed, same, harness=harness)
    kill(changed.first)
    compact, report = harness.cut(model)
    assert report.channels["changed/x"] == (8, 5)
    assert report.channels["changed/y"] == report.channels["same/norm"] == (6, 6)
    assert report.layers["changed/x"].macs == (240, 150)
    # What has nothing to lose is the user's own layer, with its own weights.
    own = compact.get_layer("same")
    assert type(own) is Block
    assert not {id(v) for v in own.variables} & {id(v) for v in same.variables}
    assert not any(isinstance(layer, Block) for layer in compact.layers if layer is not own)


def test_reshapes_that_read_the_size_of_the_batch(harness):
    block = Heads(name="block")
    model = model_of(block, harness=harness)
    kill(block.first)
    assert harness.cut(model)[1].channels["block/x"] == (8, 5)


def test_the_smaller_model_needs_no_code_of_the_user(harness, tmp_path):
    block = Block()
    model = model_of(block, harness=harness)
    kill(block.first)
    compact, _ = harness.cut(model)
    compact.save(tmp_path / "small.keras")
    loaded = keras.saving.load_model(tmp_path / "small.keras")
    x = np.random.default_rng(0).normal(size=(4, 5, 6))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), compact.predict(x, verbose=0))


def test_three_levels_with_calls_that_share(harness):
    outer = Outer(name="outer")
    left, right = keras.Input((5, 6), name="left"), keras.Input((5, 6), name="right")
    result = outer({"left": left, "right": right})
    model = keras.Model([left, right], [layers.Dense(3)(result["sum"]), result["right"]])
    harness.randomise(model)
    for block, count in zip(outer.deep.blocks, (2, 4), strict=True):
        kill(block.first, count)
    _, report = harness.cut(model)
    assert report.channels["outer/deep/a/x"] == (8, 6)
    assert report.channels["outer/deep/b/x"] == (8, 4)


def test_a_layer_that_is_called_inside_and_outside_stays_one_layer(harness):
    block = Block()
    x = keras.Input((5, 6))
    model = keras.Model(x, block(x) + block.second(layers.Dense(8)(x)))
    harness.randomise(model)
    compact, _ = harness.cut(model)
    assert compact.count_params() == model.count_params()


def test_dropout_inside_drops_in_training_alone(harness):
    block = Block()
    model = model_of(block, harness=harness)
    kill(block.first)
    compact, _ = harness.cut(model)
    x = np.random.default_rng(0).normal(size=(2, 5, 6))
    first, second = (ops.convert_to_numpy(compact(x, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    still = ops.convert_to_numpy(compact(x, training=False))
    np.testing.assert_array_equal(still, ops.convert_to_numpy(compact(x)))


def test_the_model_stays_as_it_was(harness):
    block = Block()
    model = model_of(block, harness=harness)
    kill(block.first)
    before = len(block.first._inbound_nodes), model.get_weights()
    harness.cut(model)
    assert len(block.first._inbound_nodes) == before[0]
    for old, new in zip(before[1], model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


class Clipped(Block):
    def call(self, x, training=None):
        return super().call(ops.clip(x, -1.0, 2.0 if training else 3.0))


class Numbered(Block):
    """Computes with the size of the batch."""

    def call(self, x):
        return super().call(x) / ops.cast(ops.shape(x)[0], x.dtype)


class Borrowed(Block):
    """Reads a weight of a layer in it, past that layer."""

    def call(self, x):
        return super().call(x) + ops.mean(ops.convert_to_tensor(self.first.kernel))


class Penalised(Block):
    def call(self, x):
        self.add_loss(ops.sum(x))
        return super().call(x)


class Counting(Block):
    def build(self, shape):
        self.counts = [self.add_weight(shape=(), name="count")]

    def call(self, x):
        return super().call(x) + self.counts[0]


class Namesakes(Block):
    last_name = "x"


class Switch(Block):
    def call(self, x, training=None):
        return super().call(x * 2.0 if training else x)


class Heads(Block):
    """Reads the open size of the batch, as attention by hand does."""

    def call(self, x, training=None):
        halves = ops.reshape(x, (ops.shape(x)[0], 5, 2, 3))
        return super().call(ops.reshape(halves, (ops.shape(x)[0], 5, 6)))


class Numbers(Block):
    def call(self, x):
        return super().call(x) + keras.random.normal((6,))


class Alike(Block):
    def call(self, x):
        return super().call(x if self.built and isinstance(x, keras.KerasTensor) else 2.0 * x)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Switch, "something else in training"),
        (Clipped, "something else in training"),
        (Numbered, r"stops at .*ops\.shape\(x\)\[0\]"),
        (Borrowed, "compute something else"),
        (Penalised, "add_loss"),
        (Counting, r"its own variables \(count\)"),
        pytest.param(Numbers, "compute something else", marks=pytest.mark.tensorflow),
        (Alike, "compute something else"),
    ],
)
def test_layers_that_stay_closed_say_why(kind, reason, harness):
    block = kind(name="block")
    model = model_of(block, harness=harness)
    kill(block.first)
    compact, report = surgery.remove_dead_channels(model, verify=kind is not Numbers)
    assert type(compact.get_layer("block")) is kind
    assert re.search(reason, " ".join(report.notes["block"]))


class Mirrored(layers.Layer):
    """Holds no layers and no weights."""

    def call(self, x):
        return ops.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="reflect")


@pytest.mark.parametrize("dead", [0, 3])
def test_a_layer_of_operations_alone_is_opened(dead, harness):
    x = keras.Input((4, 4, 2))
    first = layers.Conv2D(6, 3, padding="same", name="a")
    y = Mirrored(name="mirrored")(first(x))
    model = keras.Model(x, layers.Conv2D(2, 3, name="b")(y))
    harness.randomise(model)
    kill(first, dead)
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 6 - dead)
    assert any(isinstance(layer, Mirrored) for layer in compact.layers) == (not dead)


class Ids(layers.Layer):
    """Makes a mask, which what follows reads."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.table = layers.Embedding(9, 6, mask_zero=True)
        self.inner = layers.Dense(6, name="dense")

    def call(self, x):
        return self.inner(self.table(x)) * 2.0

    def compute_mask(self, x, mask=None):
        return self.table.compute_mask(x)


def test_a_mask_that_a_layer_makes_is_still_read(harness):
    block = Ids(name="block")
    x = keras.Input((5,), dtype="int32")
    model = keras.Model(x, layers.LSTM(4)(block(x)))
    harness.randomise(model)
    kill(block.inner)
    compact, report = harness.cut(model)
    assert report.channels["block/dense"] == (6, 3)
    ids = np.array([[1, 2, 0, 0, 0]])
    found, expected = (ops.convert_to_numpy(each(ids)) for each in (compact, model))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_penalty_on_outputs_keeps_a_layer_closed(harness):
    block = Block(name="block", activity_regularizer="l2")
    model = model_of(block, harness=harness)
    kill(block.first)
    _, report = harness.cut(model)
    assert "activity regularizer" in " ".join(report.notes["block"])


class Steps(Block):
    """Hands the mask on to a layer in it that reads it unasked."""

    supports_masking = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.recurrent = layers.LSTM(6, return_sequences=True)
        self.supports_masking = True

    def call(self, x, training=None):
        return super().call(self.recurrent(x), training=training)


@pytest.mark.tensorflow
def test_masks_are_handed_on(harness):
    block = Steps(name="block")
    x = keras.Input((5,), dtype="int32")
    table = layers.Embedding(9, 6, mask_zero=True)
    model = keras.Model(x, layers.LSTM(3)(block(table(x))))
    harness.randomise(model)
    kill(block.first)
    compact, report = harness.cut(model)
    assert report.channels["block/x"] == (8, 5)
    # The ids that are masked make a difference.
    ids = np.array([[1, 2, 0, 0, 0]])
    others = np.array([[1, 2, 3, 4, 5]])
    found, expected = (ops.convert_to_numpy(each(ids)) for each in (compact, model))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.abs(ops.convert_to_numpy(compact(ids) - compact(others))).max() > 1e-3


def test_layers_inside_may_be_namesakes(harness):
    block = Namesakes(name="block")
    model = model_of(block, harness=harness)
    kill(block.first)
    assert harness.cut(model)[1].channels["block/x"] == (8, 5)


def soft_sign(x):
    """Entry by entry."""
    return x / (1.0 + ops.abs(x))


def centred(x):
    """Mixes the channels."""
    return x - ops.mean(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(("function", "left"), [(soft_sign, 5), (centred, 8)])
def test_functions_of_the_user_are_looked_into(function, left, harness):
    x = keras.Input((6,))
    first = layers.Dense(8, activation=function, name="first")
    model = keras.Model(x, layers.Dense(2)(first(x)))
    harness.randomise(model)
    kill(first)
    assert harness.cut(model)[1].channels["first"] == (8, left)


class Asks(layers.Layer):
    """Reads an open size, so that it cannot be opened; two dense layers and a gate in it."""

    def __init__(self, units=8, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units, activation=soft_sign)
        self.gate = layers.Dense(units)

    def build(self, shape):
        self.last = layers.Dense(shape[-1])
        self.first.build(shape)
        self.gate.build(shape)
        self.last.build((*shape[:-1], self.units))

    def call(self, x):
        share = 1.0 / ops.cast(ops.shape(x)[0], x.dtype)
        return share * self.last(self.first(x) * ops.tanh(self.gate(x))) + x

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_units_inside_a_layer_that_stays_closed(harness):
    @surgery.register_rule(Asks)
    class AsksRule(surgery.HiddenUnits):
        first, gate, last, size = "first", "gate", "last", "units"

        def functions(self, layer):
            return None, keras.activations.tanh

    block = Asks(name="block")
    model = model_of(block, harness=harness)
    kill(block.first, 2)
    kill(block.gate, 3)
    compact, _ = harness.cut(model)
    own = compact.get_layer("block")
    # Two are constant and go; the third is alive in the first layer.
    assert (type(own), own.units) == (Asks, 6)


def test_channels_inside_are_groups(harness):
    block = Block(name="block")
    model = model_of(block, harness=harness)
    group = next(g for g in surgery.channel_groups(model) if g.layers == ("block/x",))
    assert (group.size, group.fixed) == (8, None)
    zeroed = surgery.zero_groups(model, {group: [0, 5]})
    _, report = harness.cut(zeroed)
    assert report.channels["block/x"] == (8, 6)
    assert surgery.count_macs(model).layers["block/x"] == 240


def test_zero_channels_sets_what_is_small_inside(harness):
    block = Block(name="block")
    model = model_of(block, harness=harness)
    kill(block.first)
    block.first.kernel.assign(ops.convert_to_numpy(block.first.kernel) + 1e-9)
    zeroed, _ = surgery.zero_channels(model, 1e-6)
    _, report = surgery.remove_dead_channels(zeroed)
    assert report.channels["block/x"] == (8, 5)


class SideBranch(layers.Layer):
    """Calls a sublayer whose result no output needs, and may end in an error after that."""

    def __init__(self, fails):
        super().__init__()
        self.fails = fails
        self.inner = layers.Dense(4)

    def call(self, x):
        self.inner(x)
        if self.fails:
            raise TypeError("not for symbolic tensors")
        return x + 1.0


@pytest.mark.parametrize("fails", [False, True])
def test_no_call_of_a_trace_stays_in_the_records(fails):
    block = SideBranch(fails)
    with contextlib.suppress(TypeError), unrecorded(block):
        block.call(keras.Input((4,)))
    assert block.inner.built
    assert (block.inner._inbound_nodes, block.inner._outbound_nodes) == ([], [])
