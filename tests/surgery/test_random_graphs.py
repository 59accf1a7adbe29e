"""Graphs that hypothesis makes from twenty-odd kinds of block, with random channels dead."""

import functools
from unittest import mock

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery import verify

ACTIVATIONS = ["relu", "relu6", "sigmoid", "tanh", "silu", "hard_silu", "softplus", "elu"]


def convolution(x, width):
    return layers.Conv2D(width, 3, padding="same")(x)


def matching(x, y):
    """`y` with as many channels as `x`."""
    return layers.Conv2D(x.shape[-1], 1)(y)


def shared_convolution(x, width):
    layer = layers.Conv2D(width, 3, padding="same", use_bias=False)
    twin = layers.Conv2D(x.shape[-1], 1)(x)
    return layers.Add()([layer(x), layer(twin)])


def squeeze_and_excite(x, width):
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(width, 1, activation="relu")(gate)
    return layers.Multiply()([x, layers.Conv2D(x.shape[-1], 1, activation="hard_sigmoid")(gate)])


def broadcast_gate(x, width):
    gate = layers.Conv2D(1, 1, activation="sigmoid")(x)
    return layers.Multiply()([x, gate])


def nested(x, width):
    block = keras.Sequential([layers.Conv2D(width, 1), layers.BatchNormalization(), layers.ReLU()])
    return block(x)


class Wrapped(layers.Layer):
    """A layer of layers; it may have a weight of its own, and ask for the size of the batch."""

    def __init__(self, inner, scaled=False, **kwargs):
        super().__init__(**kwargs)
        self.inner = inner
        self.scaled = scaled

    def build(self, shape):
        if self.scaled:
            self.scale = self.add_weight(shape=(shape[-1],), name="scale")

    def call(self, x, training=None):
        if self.scaled:
            ones = ops.broadcast_to(self.scale, (ops.shape(x)[0], 1, 1, x.shape[-1]))
            x = x * ones
        return self.inner(x, training=training)


INNER = ["residual", "squeeze_and_excite", "batch_norm", "shared", "half", "nested", "depthwise"]


def layer_of_layers(x, width, depth=None, inner=None):
    """Another block in one to three layers of one name, called once or twice."""
    depth = width % 3 if depth is None else depth
    inner = inner or INNER[width % len(INNER)]
    start = keras.Input(x.shape[1:])
    block = keras.Model(start, BLOCKS[inner](start, width), name="same")
    for level in range(depth):
        block = Wrapped(block, scaled=level == width % 2, name="same")
    block = Wrapped(block)
    y = block(x)
    return block(y) if y.shape == x.shape else y


def half_of_the_channels(x, width):
    half = (x.shape[-1] + 1) // 2
    return ops.concatenate([x[..., :half], layers.Conv2D(width, 1)(x[..., half:])], axis=-1)


def grouped(x, width):
    x = layers.Conv2D(4, 1)(x)
    return layers.Conv2D(8, 3, groups=2, padding="same")(x)


def flat_and_back(x, width):
    x = layers.Conv2D(3, 1)(x)
    shape = x.shape[1:]
    x = layers.Dense(int(np.prod(shape)), activation="relu")(layers.Flatten()(x))
    return layers.Reshape(shape)(x)


def attention(x, width):
    y = layers.MultiHeadAttention(2, 3, use_gate=width == 7)(sequence(x), sequence(x))
    return layers.Add()([x, layers.Reshape(x.shape[1:])(y)])


def sequence(x):
    """The positions in one row."""
    height, columns, channels = x.shape[1:]
    return layers.Reshape((height * columns, channels))(x)


def grouped_attention(x, width):
    y = layers.GroupQueryAttention(3, 4, 2, use_gate=width % 2 == 0)(sequence(x), sequence(x))
    return layers.Add()([x, layers.Reshape(x.shape[1:])(y)])


def attention_by_hand(x, width):
    q, k, v = (sequence(layers.Conv2D(width, 1)(x)) for _ in range(3))
    scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / width)
    y = ops.matmul(scores, v) if width % 2 else layers.Attention()([q, v, k])
    return layers.Reshape((*x.shape[1:-1], width))(y)


def recurrent(x, width):
    rnn = layers.GRU(width, return_sequences=True)
    if width % 2:
        rnn = layers.Bidirectional(rnn, merge_mode=["concat", "sum", "mul", "ave"][width // 2])
    y = rnn(sequence(x))
    return layers.Reshape((*x.shape[1:-1], y.shape[-1]))(y)


def split_and_stack(x, width):
    a, b = ops.split(layers.Conv2D(2 * width, 1)(x), 2, axis=-1)
    y = ops.stack([a, ops.where(b > 0.1, a, b)], axis=3)
    return ops.squeeze(ops.sum(y, axis=3, keepdims=True), 3)


def rows_as_steps(x, width):
    y = layers.TimeDistributed(layers.Conv1D(width, 3, padding="same"))(x)
    return layers.TimeDistributed(layers.BatchNormalization())(y)


def depth_and_space(x, width):
    y = ops.depth_to_space(layers.Conv2D(4 * width, 1)(x), 2)
    return ops.space_to_depth(y, 2) if width % 2 else ops.max_pool(y, 2)


def folded_into_the_batch(x, width):
    y = layers.Conv2D(2 * width, 1)(x)
    shape = y.shape[1:3]
    y = ops.transpose(ops.reshape(y, (-1, *shape, 2, width)), (0, 3, 1, 2, 4))
    y = layers.Conv2D(width, 1, activation="relu")(ops.reshape(y, (-1, *shape, width)))
    y = ops.transpose(ops.reshape(y, (-1, 2, *shape, width)), (0, 2, 3, 1, 4))
    return ops.reshape(y, (-1, *shape, 2 * width))


def along_positions(x, width):
    y = ops.pad(
        x, ((0, 0), (1, 0), (0, 1), (0, 0)), mode="reflect" if x.shape[1] > 1 else "constant"
    )
    return ops.roll(ops.softmax(y, axis=1), 1, axis=2) if width % 2 else ops.cumsum(y, axis=1)


def of_two(x, width):
    y = matching(x, x)
    gate = ops.norm(x, axis=(1, 2), keepdims=True) if width % 2 else ops.logaddexp(x, 0.3)
    return ops.hypot(ops.arctan2(x, y + 0.1), gate)


def unstacked(x, width):
    first, *_, last = ops.unstack(layers.Conv2D(width, 1)(x), axis=2) * 2
    y = ops.stack([first, last], axis=2)
    return ops.repeat(y, 2, axis=1) if x.shape[1] < 6 else ops.flip(y, axis=1)


BLOCKS = {
    "conv": convolution,
    "conv_valid": lambda x, width: layers.Conv2D(width, 2)(x) if x.shape[1] > 2 else x,
    "conv_strided": lambda x, width: layers.Conv2D(width, 3, strides=2, padding="same")(x),
    "conv_no_bias": lambda x, width: layers.Conv2D(width, 1, use_bias=False)(x),
    "transposed": lambda x, width: layers.Conv2DTranspose(width, 3, padding="same")(x),
    "depthwise": lambda x, width: layers.DepthwiseConv2D(3, padding="same")(x),
    "multiplied": lambda x, width: (
        matching(x, layers.DepthwiseConv2D(2, depth_multiplier=2)(x)) if x.shape[1] > 2 else x
    ),
    "separable": lambda x, width: layers.SeparableConv2D(width, 3, padding="same")(x),
    "grouped": grouped,
    "batch_norm": lambda x, width: layers.BatchNormalization()(x),
    "layer_norm": lambda x, width: layers.LayerNormalization()(x),
    "instance_norm": lambda x, width: layers.GroupNormalization(-1)(x),
    "prelu": lambda x, width: layers.PReLU(shared_axes=[1, 2])(x),
    "activation": lambda x, width: layers.Activation(ACTIVATIONS[width % len(ACTIVATIONS)])(x),
    "residual": lambda x, width: layers.Add()([x, matching(x, convolution(x, width))]),
    "maximum": lambda x, width: layers.Maximum()([x, matching(x, x)]),
    "subtract": lambda x, width: layers.Subtract()([matching(x, x), x]),
    "concatenate": lambda x, width: layers.Concatenate()([x, layers.Conv2D(width, 1)(x)]),
    "squeeze_and_excite": squeeze_and_excite,
    "broadcast_gate": broadcast_gate,
    "zero_padding": lambda x, width: layers.Conv2D(width, 3)(layers.ZeroPadding2D(1)(x)),
    "max_pool": lambda x, width: layers.MaxPooling2D(2, padding="same")(x),
    "average_pool": lambda x, width: layers.AveragePooling2D(3, strides=1, padding="same")(x),
    "up_sampling": lambda x, width: layers.UpSampling2D(2)(x) if x.shape[1] < 6 else x,
    "dropout": lambda x, width: layers.Dropout(0.3)(x),
    "shared": shared_convolution,
    "nested": nested,
    "layer_of_layers": layer_of_layers,
    "operators": lambda x, width: ops.relu6(x * 0.7 + 1.0) / 6.0 - np.arange(x.shape[-1]) * 0.1,
    "half": lambda x, width: half_of_the_channels(x, width) if x.shape[-1] > 1 else x,
    "permute": lambda x, width: layers.Permute((2, 1, 3))(x),
    "flat_and_back": flat_and_back,
    "attention": attention,
    "grouped_attention": grouped_attention,
    "attention_by_hand": attention_by_hand,
    "recurrent": recurrent,
    "split_and_stack": split_and_stack,
    "rows_as_steps": rows_as_steps,
    "depth_and_space": depth_and_space,
    "folded_into_the_batch": folded_into_the_batch,
    "along_positions": along_positions,
    "of_two": of_two,
    "unstacked": unstacked,
    "normalization": lambda x, width: layers.Normalization(
        mean=np.arange(x.shape[-1]) / 10, variance=np.arange(1.0, x.shape[-1] + 1)
    )(x),
}
HEADS = {
    "average": layers.GlobalAveragePooling2D,
    "flatten": layers.Flatten,
    "maximum": layers.GlobalMaxPooling2D,
}


def build(blocks, head, rng, kill):
    x = inputs = keras.Input((5, 5, 2))
    x = layers.Conv2D(5, 1)(x)
    for name, width in blocks:
        x = BLOCKS[name](x, width)
    x = layers.Dense(6, activation="tanh")(HEADS[head]()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    for weight in model.weights:
        weight.assign(random_weight(weight, rng, kill))
    return model


def random_weight(weight, rng, kill):
    """Random numbers; of kernels some columns are zero, some rows, or everything."""
    shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
    if "variance" in name:
        return rng.uniform(0.5, 1.5, shape)
    value = rng.standard_normal(shape) * (0.6 if len(shape) > 1 else 0.3)
    if name == "gamma":
        value = 1 + value
    if name in ("gamma", "scale") or len(shape) > 1:
        value[..., rng.random(shape[-1]) < kill] = 0
    if len(shape) > 1:
        value[..., rng.random(shape[-2]) < kill / 3, :] = 0
        if rng.random() < 0.08:
            value[:] = 0
    if name == "bias" and rng.random() < 0.3:
        value[:] = 0
    return value


def check(blocks, head, seed, kill):
    model = build(blocks, head, np.random.default_rng(seed), kill)
    compact, report = surgery.remove_dead_channels(model, verify=False)
    difference, noise = verify.largest_difference(model, compact, verify.random_inputs(model, seed))
    assert difference <= max(64 * noise, 1e-11)
    again, second = surgery.remove_dead_channels(compact, verify=False)
    # What can go has gone; only what folding has made constant may follow.
    assert again.count_params() <= compact.count_params()
    assert second.parameters[0] == report.parameters[1]


GRAPHS = {
    "blocks": st.lists(
        st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(2, 7)), min_size=1, max_size=7
    ),
    "head": st.sampled_from(sorted(HEADS)),
    "seed": st.integers(0, 2**32 - 1),
    "kill": st.sampled_from([0.0, 0.3, 0.6]),
}


@pytest.mark.tensorflow
@pytest.mark.usefixtures("float64")
@settings(suppress_health_check=list(HealthCheck))
@given(**GRAPHS)
def test_random_graphs(blocks, head, seed, kill):
    check(blocks, head, seed, kill)


NESTED = st.tuples(st.sampled_from(INNER), st.integers(2, 7), st.integers(0, 2))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.usefixtures("float64")
@settings(
    suppress_health_check=list(HealthCheck), max_examples=(settings.default.max_examples + 1) // 2
)
@given(
    nested=st.lists(NESTED, min_size=1, max_size=3),
    head=st.sampled_from(sorted(HEADS)),
    seed=st.integers(0, 2**32 - 1),
    kill=st.sampled_from([0.3, 0.6]),
)
def test_random_layers_of_layers(nested, head, seed, kill):
    """Nested up to three deep; `--hypothesis-profile=nightly` makes a thousand of them."""
    made = {
        f"nested {inner} {depth}": functools.partial(layer_of_layers, depth=depth, inner=inner)
        for inner, _, depth in nested
    }
    blocks = [(f"nested {inner} {depth}", width) for inner, width, depth in nested]
    with mock.patch.dict(BLOCKS, made):
        check(blocks, head, seed, kill)


@pytest.mark.tensorflow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_every_block_loses_channels(name):
    model = build([(name, 4), ("conv_no_bias", 6)], "average", np.random.default_rng(1), 0.5)
    compact, report = surgery.remove_dead_channels(model)
    assert compact.count_params() < model.count_params()
    assert any(after < before for before, after in report.channels.values())
