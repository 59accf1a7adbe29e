"""Masks that tensors carry, and masks that are passed to nested models."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import _keras, surgery

WORDS, WIDTH, LENGTH = 9, 8, 6


def embedded():
    """`(token input, embedded tokens)`; zeros are masked."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    return tokens, layers.Embedding(WORDS, WIDTH, mask_zero=True)(tokens)


def constant(value=0.0):
    return layers.Dense(
        WIDTH, kernel_initializer="zeros", bias_initializer=keras.initializers.Constant(value)
    )


def has_mask(model):
    tokens = ops.convert_to_tensor(np.array([[1, 2, 0, 0, 3, 4]]))
    return _keras.mask_of(model(tokens)) is not None


@pytest.mark.parametrize(
    "join",
    [
        lambda x, d: x + d,
        lambda x, d: layers.Add()([x, d]),
        lambda x, d: ops.concatenate([x, d], axis=-1),
        lambda x, d: layers.Concatenate()([x, d]),
        lambda x, d: ops.split(ops.concatenate([x, d], axis=-1), 2, axis=-1)[0],
        lambda x, d: ops.split(x, 2, axis=-1)[0],
    ],
)
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize(
    "read",
    [
        lambda x: layers.LSTM(4)(x),  # noqa: PLW0108 a new layer each time
        lambda x: layers.MultiHeadAttention(2, 4)(x, x),
        lambda x: layers.Dense(3)(x[..., :1]),
    ],
    ids=["lstm", "attention", "first"],
)
def test_a_constant_operand_does_not_change_the_mask(join, value, read):
    tokens, x = embedded()
    d = constant(value)(x)
    d = layers.Dense(WIDTH, kernel_initializer="zeros")(d) if value == 0.0 else d
    model = keras.Model(tokens, read(join(x, d)))
    compact, _ = surgery.remove_dead_channels(model)
    assert has_mask(compact) == has_mask(model)


def test_a_mask_that_is_passed_to_a_nested_model_is_read():
    x, mask = keras.Input((LENGTH, 4)), keras.Input((LENGTH,), dtype="bool")
    encoder = keras.Sequential([keras.Input((LENGTH, 4)), layers.LSTM(5)])
    model = keras.Model([x, mask], layers.Dense(2)(encoder(x, mask=mask)))
    compact, _ = surgery.remove_dead_channels(model)
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(5, LENGTH, 4)), rng.random((5, LENGTH)) > 0.5]
    np.testing.assert_allclose(compact.predict(inputs), model.predict(inputs), atol=1e-5)


class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.first, self.second = layers.Dense(16, activation="relu"), layers.Dense(WIDTH)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], 16))

    def call(self, x):
        return x + self.second(self.first(x))


@pytest.mark.parametrize(
    ("read", "opened"),
    [
        (lambda x: layers.MultiHeadAttention(2, 4)(x, x), False),
        (lambda x: layers.Dense(3)(x), False),  # noqa: PLW0108 a new layer each time
        (lambda x: layers.Dense(3)(layers.LSTM(4)(x)), True),
    ],
    ids=["attention", "loss", "lstm"],
)
def test_the_mask_of_an_opened_layer_reaches_who_reads_it(read, opened):
    tokens, x = embedded()
    block = Block(name="block")
    model = keras.Model(tokens, read(block(x)))
    kernel = np.array(ops.convert_to_numpy(block.first.kernel))
    kernel[:, :5] = 0
    block.first.kernel.assign(kernel)
    compact, report = surgery.remove_dead_channels(model)
    assert has_mask(compact) == has_mask(model)
    assert ((16, 11) in report.channels.values()) is opened
