"""Opened layers on several tensors with open lengths, and what `call` may do with such lengths."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse.surgery.open_axes import Lengths, open_axes
from tests.surgery.test_opening import Block, kill


class Decoder(layers.Layer):
    """Looks at a text, causally, and at something of another length, both with masks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.own = layers.MultiHeadAttention(2, 3, name="own")
        self.other = layers.MultiHeadAttention(2, 3, name="other")
        self.block = Block(name="block")

    def build(self, text_shape, encoded_shape, **shapes):
        self.own.build(text_shape, text_shape)
        self.other.build(text_shape, encoded_shape)
        self.block.norm.build(text_shape)
        self.block.first.build(text_shape)
        self.block.second.build((*text_shape[:-1], 8))

    def call(self, text, encoded, text_mask, encoded_mask):
        length = ops.shape(text)[1]
        order = ops.arange(length)
        causal = ops.broadcast_to(
            order[:, None] >= order[None, :], (ops.shape(text)[0], length, length)
        )
        mask = ops.logical_and(causal, ops.cast(text_mask, "bool")[:, None, :])
        text = text + self.own(text, text, attention_mask=mask)
        encoded_mask = ops.cast(encoded_mask, "bool")[:, None, :]
        text = text + self.other(text, encoded, attention_mask=encoded_mask)
        return self.block(text)


@pytest.mark.tensorflow  # JAX computes attention by an operation of its own
def test_tensors_of_two_lengths(harness):
    text, encoded = keras.Input((None, 6)), keras.Input((None, 6))
    masks = [keras.Input((None,), dtype="int32") for _ in range(2)]
    decoder = Decoder(name="decoder")
    model = keras.Model([text, encoded, *masks], decoder(text, encoded, *masks))
    harness.randomise(model)
    for layer in (decoder.block.first, decoder.own.key_dense, decoder.other.key_dense):
        kill(layer, 1)
    compact, report = harness.cut(model)
    assert report.channels["decoder/block/x"] == (8, 7)
    assert compact.get_layer("own").get_config()["key_dim"] == 2
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((2, n, 6)) for n in (3, 7)]
    x += [rng.integers(0, 2, (2, n)) for n in (3, 7)]
    found, expected = (ops.convert_to_numpy(each(x)) for each in (compact, model))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class Numbers(Block):
    """Adds to each position how far it is from the last one."""

    def call(self, x):
        length = ops.shape(x)[1]
        away = ops.cast(ops.arange(1 - length, 1), x.dtype)
        return super().call(x + 0.1 * away[None, :, None])


class Zeros(Block):
    """Starts from zeros of its own shape."""

    def call(self, x):
        zeros = ops.zeros((1, ops.shape(x)[1], 1), x.dtype)
        return super().call(zeros + ops.mean(x, axis=1, keepdims=True))


class Repeated(Block):
    """Repeats a weight as often as there are samples, and takes as much of it as there is text."""

    def build(self, shape):
        self.table = self.add_weight(shape=(300, 6), name="table")
        self.order = self.add_weight(
            shape=(300,), name="order", dtype="int32", trainable=False, initializer="zeros"
        )

    def call(self, x):
        batch, length = ops.shape(x)[0], ops.shape(x)[1]
        row = ops.take(self.table, self.order, axis=0)[None, :1]
        rows = ops.repeat(row, batch, axis=0) + ops.slice(self.table, (0, 0), (length, 6))
        return super().call(x + rows[:, :length])


class Rotation(layers.Layer):
    """Turns several tensors by their positions; says that it returns one."""

    def call(self, tensors):
        positions = ops.arange(ops.shape(tensors[0])[1], dtype=tensors[0].dtype)[None]
        turned = ops.expand_dims(positions, axis=ops.ndim(tensors[0]) - 1)
        return [tensor * ops.cos(turned) for tensor in tensors]

    def compute_output_shape(self, shapes):
        return shapes[0]


class Rotated(Block):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.rotation = Rotation(name="rotation")

    def call(self, x):
        one, two = self.rotation([x, 2.0 * x])
        return super().call(one + two)


class OfTheBackend(Block):
    """Calls a function of TensorFlow's or JAX' own where Keras has one as well."""

    def call(self, x):
        if keras.config.backend() == "tensorflow":
            import tensorflow as tf

            return super().call(tf.tanh(x))
        if keras.config.backend() == "jax":
            import jax

            return super().call(jax.numpy.tanh(x))
        return super().call(ops.tanh(x))


# JAX makes no array whose size is open, and reads no weight while Keras infers a shape.
ONLY_TENSORFLOW = [
    pytest.param(kind, marks=pytest.mark.tensorflow) for kind in (Zeros, Repeated, OfTheBackend)
]


@pytest.mark.parametrize("kind", [Numbers, Rotated, *ONLY_TENSORFLOW])
def test_what_a_call_does_with_an_open_length(kind, harness):
    block = kind(name="block")
    x = keras.Input((None, 6))
    model = keras.Model(x, layers.Dense(3)(block(x)))
    harness.randomise(model)
    if kind is Repeated:
        block.order.assign(np.arange(300) % 7)
    kill(block.first)
    compact, report = harness.cut(model)
    assert report.channels["block/x"] == (8, 5)
    for length in (1, 4, 9):
        x = harness.rng.standard_normal((2, length, 6))
        found, expected = (ops.convert_to_numpy(each(x)) for each in (compact, model))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


class Alike(Block):
    """Takes a second tensor of the same length, and says without numbers if it has another."""

    def call(self, x, y):
        sizes = [ops.shape(tensor)[1] for tensor in (x, y)]
        if type(sizes[0]) is int and sizes[0] != sizes[1]:
            raise ValueError("Two lengths differ.")
        return super().call(x + 0.1 * ops.arange(ops.shape(y)[1], dtype="float32")[:, None])


def test_lengths_that_have_to_be_alike(harness):
    block = Alike(name="block")
    x, y = keras.Input((None, 6)), keras.Input((None, 2))
    model = keras.Model([x, y], block(x, y))
    harness.randomise(model)
    kill(block.first)
    assert harness.cut(model)[1].channels["block/x"] == (8, 5)


def test_lengths_are_joined_as_errors_say():
    tensors = [keras.Input((None, 6)), keras.Input((None,)), keras.Input((None, None))]
    assert open_axes(tensors) == [(0, 1), (1, 1), (2, 1), (2, 2)]
    lengths = Lengths.apart(tensors)
    numbers = [pair[0] for row in lengths.pairs(tensors) for pair in row[1:] if pair[0] != pair[1]]
    assert len(set(numbers)) == 4
    joined = lengths.joined(f"shapes (13, {numbers[0]}) and (13, {numbers[2]}) do not fit")
    assert joined.of == (0, 1, 0, 3)
    assert lengths.joined("one shape does not fit") is None
    assert [split.of for split in joined.splits()] == [(0, 1, -1, 3)]
    assert joined.sizes(tensors, 4, 5) == {(0, 1): 4, (1, 1): 9, (2, 1): 4, (2, 2): 14}
    assert Lengths.by_order(tensors).of == (0, 0, 0, 1)
