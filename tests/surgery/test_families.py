"""Each family of layers: outputs stay, and as much is removed as can be."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery import verify
from tests.optimizers.matrix import thorough

pytestmark = pytest.mark.usefixtures("float64")


def put(weight, index, value=0.0):
    """Sets a part of a weight."""
    array = weight.numpy()
    array[index] = value
    weight.assign(array)


def widths(report, *names):
    return [report.channels[name][1] for name in names]


def _lambda(x):
    return layers.Lambda(lambda y: ops.flip(y, -1), output_shape=(4, 4, 6))(x)


# Convolutions.


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("layer", "shape", "kept"),
    [
        (layers.Conv1D, (12, 2), {"valid": 4, "same": 5}),
        (layers.Conv2D, (9, 8, 2), {"valid": 4, "same": 5}),
        (layers.Conv3D, (5, 6, 5, 2), {"valid": 4, "same": 5}),
        (layers.Conv1DTranspose, (9, 2), {"valid": 5, "same": 5}),
        (layers.Conv2DTranspose, (5, 4, 2), {"valid": 5, "same": 5}),
        (layers.SeparableConv1D, (12, 2), {"valid": 4, "same": 6}),
        (layers.SeparableConv2D, (9, 8, 2), {"valid": 4, "same": 6}),
    ],
)
def test_convolutions_read_constants(layer, shape, kept, padding, harness):
    rank = len(shape) - 1
    first = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[rank]
    x = inputs = keras.Input(shape)
    x = first(6, 2, name="a")(x)
    x = layers.Activation("sigmoid")(x)
    x = layer(5, 3, padding=padding, use_bias=False, name="b")(x)
    model = keras.Model(inputs, x)
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, kept[padding])
    assert compact.get_layer("b").use_bias == (kept[padding] == 4)


@pytest.mark.parametrize("layer", [layers.Conv1DTranspose, layers.Conv2DTranspose])
def test_transposed_convolution_loses_filters(layer, harness):
    shape = (5, 3) if layer is layers.Conv1DTranspose else (5, 4, 3)
    x = inputs = keras.Input(shape)
    x = layer(6, 3, strides=2, padding="same", activation="relu", name="a")(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [0, 5], slice(None)))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_grouped_convolution_keeps_groups_equal(padding, harness):
    x = inputs = keras.Input((7, 7, 3))
    x = layers.Conv2D(12, 1, activation="sigmoid", name="a")(x)
    x = layers.Conv2D(8, 3, groups=4, padding=padding, name="b")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="c")(x))
    harness.randomise(model)
    # Group 0 loses all of its outputs; the others one input each, and group 2 a second one.
    put(model.get_layer("b").kernel, (..., [0, 1]))
    put(model.get_layer("a").kernel, (..., [3, 7, 8, 11]))
    compact, report = harness.cut(model)
    inputs_left = {"valid": 6, "same": 9}[padding]
    assert report.channels == {"a": (12, inputs_left), "b": (8, 6), "c": (2, 2)}
    assert compact.get_layer("b").groups == 3


@pytest.mark.parametrize("multiplier", [1, 2])
def test_as_many_groups_as_inputs(multiplier, harness):
    x = inputs = keras.Input((7, 7, 3))
    x = layers.Conv2D(6, 1, name="a")(x)
    x = layers.Conv2D(6 * multiplier, 3, groups=6, padding="same", activation="relu", name="b")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="c")(x))
    harness.randomise(model)
    put(model.get_layer("b").kernel, (..., slice(2 * multiplier, 4 * multiplier)))
    compact, report = harness.cut(model)
    assert report.channels == {"a": (6, 4), "b": (6 * multiplier, 4 * multiplier), "c": (2, 2)}
    assert compact.get_layer("b").groups == 4


# Dense relatives.


@pytest.mark.parametrize(
    ("equation", "shape", "output", "bias_axes"),
    [
        ("abc,cd->abd", (4, 6), (None, 3), None),
        ("abc,cd->abd", (4, 6), (None, 3), "d"),
        ("abc,cde->abde", (4, 6), (None, 2, 3), None),
        ("abc,cde->abde", (4, 6), (None, 2, 3), "de"),
        ("...c,cd->...d", (4, 6), (3,), "d"),
        ("abc,bcd->abd", (4, 6), (4, 3), None),
    ],
)
def test_einsum_dense(equation, shape, output, bias_axes, harness):
    x = inputs = keras.Input((4, 5))
    x = layers.Dense(6, activation="sigmoid", name="a")(x)
    x = layers.EinsumDense(equation, output, bias_axes=bias_axes, activation="relu", name="b")(x)
    model = keras.Model(inputs, layers.Dense(2, name="c")(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [2, 3]))
    put(model.get_layer("b").kernel, (..., [1]))
    put(model.get_layer("c").kernel, 1, 0.7)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)
    if bias_axes is None and equation.startswith("abc,cd->"):
        assert report.channels["b"] == (3, 2)


@pytest.mark.parametrize("kind", [layers.Embedding, layers.ReversibleEmbedding])
def test_embedding_columns(kind, harness):
    tokens = keras.Input((7,), dtype="int32")
    x = kind(2, 6, mask_zero=True, name="embedding")(tokens)
    x = layers.LSTM(4, name="lstm")(x)
    model = keras.Model(tokens, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("embedding").embeddings, (..., [1, 3]), 0.8)
    _, report = harness.cut(model)
    assert report.channels["embedding"] == (6, 4)


# Recurrent layers.

CANDIDATES = {"LSTM": (2, 4), "GRU": (2, 3), "SimpleRNN": (0, 1)}


def recurrent_model(harness, kind, sequences, **arguments):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, activation="sigmoid", name="before")(x)
    x = getattr(layers, kind)(6, return_sequences=sequences, name="rnn", **arguments)(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    return model


def silence(cell, kind, units):
    """Makes the candidate of some units zero, save for what they read of one another."""
    gate, _ = CANDIDATES[kind]
    columns = [gate * 6 + unit for unit in units]
    rows = [row for row in range(6) if row not in units]
    put(cell.kernel, (slice(None), columns))
    put(cell.recurrent_kernel, np.ix_(rows, columns))
    if cell.bias is not None:
        put(cell.bias, (..., columns))


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("LSTM", {}),
        ("LSTM", {"use_bias": False}),
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
        ("GRU", {"use_bias": False}),
        ("SimpleRNN", {}),
    ],
)
def test_recurrent(kind, arguments, sequences, harness):
    model = recurrent_model(harness, kind, sequences, **arguments)
    silence(model.get_layer("rnn").cell, kind, [1, 4])
    compact, report = harness.cut(model)
    assert widths(report, "before", "rnn") == [4, 4]
    assert compact.get_layer("rnn").use_bias


def test_recurrent_gate_that_is_zero_is_not_dead(harness):
    model = recurrent_model(harness, "LSTM", True)
    cell = model.get_layer("rnn").cell
    for weight in (cell.kernel, cell.recurrent_kernel, cell.bias):
        put(weight, (..., [0, 1]))
    _, report = harness.cut(model)
    assert report.channels["rnn"] == (6, 6)


def test_recurrent_with_initial_state_is_left_whole(harness):
    x, state = keras.Input((5, 4)), keras.Input((6,))
    y = layers.SimpleRNN(6, name="rnn")(x, initial_state=state)
    model = keras.Model([x, state], layers.Dense(3)(y))
    harness.randomise(model)
    silence(model.get_layer("rnn").cell, "SimpleRNN", [1, 4])
    _, report = harness.cut(model)
    assert report.channels["rnn"] == (6, 6)


@pytest.mark.parametrize(
    ("kind", "merge_mode"),
    thorough(
        list(itertools.product(["LSTM", "GRU"], ["concat", None, "sum", "ave", "mul"])),
        *[("LSTM", "concat"), ("GRU", None), ("LSTM", "sum"), ("GRU", "ave"), ("LSTM", "mul")],
    ),
)
def test_bidirectional(kind, merge_mode, harness):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, activation="sigmoid", name="before")(x)
    rnn = getattr(layers, kind)(6, return_sequences=True)
    x = layers.Bidirectional(rnn, merge_mode=merge_mode, name="both")(x)
    x = layers.Concatenate()(x) if merge_mode is None else x
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    silence(model.get_layer("both").forward_layer.cell, kind, [1, 4])
    silence(model.get_layer("both").backward_layer.cell, kind, [1, 2])
    # What is dead in one direction no unit reads in the other.
    put(model.get_layer("both").forward_layer.cell.recurrent_kernel, 2)
    put(model.get_layer("both").backward_layer.cell.recurrent_kernel, 4)
    compact, report = harness.cut(model)
    assert report.channels["before"] == (6, 4)
    # Unit 1 is dead in both directions, 4 and 2 in one; a product is zero if one is.
    left = {"concat": (12, 8), None: (6, 4), "sum": (6, 5), "ave": (6, 5), "mul": (6, 3)}
    assert report.channels["both"] == left[merge_mode]
    assert compact.get_layer("both").backward_layer.units == left[merge_mode][1] // (
        2 if merge_mode == "concat" else 1
    )


@pytest.mark.parametrize("merge_mode", ["sum", "mul"])
def test_bidirectional_with_merged_states(merge_mode, harness):
    x = inputs = keras.Input((5, 4))
    rnn = layers.LSTM(6, return_state=True)
    y, *states = layers.Bidirectional(rnn, merge_mode=merge_mode, name="both")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Concatenate()([y, states[0], states[3]])))
    harness.randomise(model)
    for layer in (model.get_layer("both").forward_layer, model.get_layer("both").backward_layer):
        silence(layer.cell, "LSTM", [1, 4])
    _, report = harness.cut(model)
    assert report.channels["both"] == (6, 4)


@pytest.mark.parametrize("kind", CANDIDATES)
def test_recurrent_layer_around_a_cell(kind, harness):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, activation="sigmoid", name="before")(x)
    cell = getattr(layers, f"{kind}Cell")(6, use_bias=False)
    x = layers.RNN(cell, return_sequences=True, name="rnn")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    silence(model.get_layer("rnn").cell, kind, [1, 4])
    compact, report = harness.cut(model)
    assert widths(report, "before", "rnn") == [4, 4]
    assert compact.get_layer("rnn").cell.use_bias


def test_stateful_recurrent_layer_is_left_whole(harness):
    x = inputs = keras.Input(batch_shape=(2, 5, 4))
    x = layers.LSTM(6, stateful=True, name="rnn")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    silence(model.get_layer("rnn").cell, "LSTM", [1, 4])
    model.get_layer("rnn").reset_state()
    _, report = surgery.remove_dead_channels(model, verify=False)
    assert report.channels["rnn"] == (6, 6)


@pytest.mark.parametrize("training", [True, False])
def test_time_distributed_with_training_pinned(training, harness):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, name="a")(x)
    x = layers.TimeDistributed(layers.Dropout(0.5), name="b")(x, training=training)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = surgery.remove_dead_channels(model, verify=False)
    assert report.channels["a"] == (6, 6 if training else 4)


@pytest.mark.parametrize("sequences", [False, True])
def test_stacked_cells(sequences, harness):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, activation="sigmoid", name="before")(x)
    cells = [layers.LSTMCell(6), layers.GRUCell(6, use_bias=False), layers.SimpleRNNCell(6)]
    x = layers.RNN(cells, return_sequences=sequences, name="rnn")(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    for cell, kind, units in zip(cells, CANDIDATES, ([1, 4], [0, 2, 3], [5]), strict=True):
        silence(cell, kind, units)
    compact, report = harness.cut(model)
    assert widths(report, "before", "rnn") == [4, 5]
    assert [cell.units for cell in compact.get_layer("rnn").cell.cells] == [4, 3, 5]


@pytest.mark.parametrize("kind", ["states", "unknown cell"])
def test_stacked_cells_that_are_left_whole(kind, harness):
    @keras.saving.register_keras_serializable(package="test")
    class Same(layers.SimpleRNNCell):
        pass

    x = inputs = keras.Input((5, 4))
    x = layers.Dense(6, name="before")(x)
    cells = [layers.SimpleRNNCell(6), Same(6) if kind == "unknown cell" else layers.GRUCell(6)]
    x = layers.RNN(cells, return_state=kind == "states", name="rnn")(x)
    x = layers.Concatenate()(x) if kind == "states" else x
    model = keras.Model(inputs, layers.Dense(3)(x))
    harness.randomise(model)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    _, report = harness.cut(model)
    reason = {"states": "returns the states of its cells", "unknown cell": "has a cell without"}
    assert report.channels["before"] == (6, 6)
    assert reason[kind] in " ".join(report.reasons["before"])


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("layer", [layers.ConvLSTM1D, layers.ConvLSTM2D])
def test_convolutional_recurrent(layer, sequences, padding, harness):
    sizes = (6, 5)[: 1 if layer is layers.ConvLSTM1D else 2]
    x = inputs = keras.Input((3, *sizes, 2))
    x = layers.Dense(6, activation="sigmoid", name="before")(x)
    rnn = layer(6, 3, padding=padding, return_sequences=sequences, use_bias=False, name="rnn")
    model = keras.Model(inputs, layers.Dense(3)(rnn(x)))
    harness.randomise(model)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    dead, columns = [1, 4], [12 + 1, 12 + 4]
    put(rnn.cell.kernel, (..., columns))
    recurrent = rnn.cell.recurrent_kernel.numpy()
    for unit in set(range(6)) - set(dead):
        recurrent[..., unit, columns] = 0
    rnn.cell.recurrent_kernel.assign(recurrent)
    compact, report = harness.cut(model)
    # A constant under a padded border is none for the layer, so its channel stays.
    assert widths(report, "before", "rnn") == [4 if padding == "valid" else 6, 4]
    assert compact.get_layer("rnn").use_bias == (padding == "valid")


def test_tied_embedding_read_backwards_is_left_whole(harness):
    x = keras.Input((5,), dtype="int32")
    table = layers.ReversibleEmbedding(7, 6, name="table")
    y = layers.Dense(6, name="a")(table(x))
    model = keras.Model(x, table(y, reverse=True))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [0, 5]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 6)
    assert report.reasons["a"] == {"table: computes scores of the tokens from its table": 2}


def test_recurrent_states(harness):
    x = inputs = keras.Input((5, 4))
    y, h, c = layers.LSTM(6, return_state=True, return_sequences=True, name="rnn")(x)
    y = layers.Concatenate()([layers.Dense(2)(h), layers.Dense(2)(c), layers.LSTM(3)(y)])
    model = keras.Model(inputs, layers.Dense(3)(y))
    harness.randomise(model)
    silence(model.get_layer("rnn").cell, "LSTM", [0, 3])
    _, report = harness.cut(model)
    assert report.channels["rnn"] == (6, 4)


# Attention.


def attention_model(harness, attention, cross=False):
    x = inputs = keras.Input((5, 8))
    x = layers.Dense(8, activation="sigmoid", name="before")(x)
    y = layers.Dense(8, activation="sigmoid", name="other")(inputs) if cross else x
    y = attention(x, y)
    model = keras.Model(inputs, layers.Dense(3, name="after")(y))
    harness.randomise(model, damping=0.8)
    return model


def test_attention_constant_inputs_are_folded(harness):
    attention = layers.MultiHeadAttention(2, 3, use_bias=False, name="attention")
    model = attention_model(harness, attention)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    compact, report = harness.cut(model)
    assert report.channels["before"] == (8, 6)
    assert compact.get_layer("attention").use_bias


@pytest.mark.tensorflow  # JAX's attention has one width for keys and values
def test_attention_widths(harness):
    attention = layers.MultiHeadAttention(2, 6, value_dim=5, name="attention")
    model = attention_model(harness, attention, cross=True)
    # Different dimensions of the two heads; the queries' go to zero, the keys' to a constant.
    put(attention.query_dense.kernel, (slice(None), 0, [1, 2]))
    put(attention.query_dense.bias, (0, [1, 2]))
    put(attention.key_dense.kernel, (slice(None), 1, [0, 3, 4]))
    put(attention.value_dense.kernel, (slice(None), 0, [4]))
    put(attention.value_dense.kernel, (slice(None), 1, [0, 1]))
    put(model.get_layer("after").kernel, [2, 6])
    compact, report = harness.cut(model)
    new = compact.get_layer("attention")
    assert (new.num_heads, new.key_dim, new.value_dim) == (2, 4, 4)
    assert report.channels["attention"] == (8, 6)


def test_attention_heads(harness):
    attention = layers.MultiHeadAttention(4, 3, name="attention")
    model = attention_model(harness, attention)
    put(attention.value_dense.kernel, (slice(None), 1))
    put(attention.output_dense.kernel, 3)
    compact, _ = harness.cut(model)
    assert compact.get_layer("attention").num_heads == 2


def test_attention_with_mask_and_scores(harness):
    x, mask = keras.Input((5, 8)), keras.Input((5, 5), dtype="bool")
    attention = layers.MultiHeadAttention(2, 4, name="attention")
    y = attention(x, x, attention_mask=mask)
    z, scores = layers.MultiHeadAttention(2, 4, name="scored")(y, y, return_attention_scores=True)
    model = keras.Model([x, mask], [layers.Dense(3)(z), scores])
    harness.randomise(model)
    put(attention.value_dense.kernel, (..., [1, 2]))
    compact, _ = harness.cut(model)
    one_width = keras.backend.backend() == "jax"
    assert compact.get_layer("attention").value_dim == (4 if one_width else 3)
    assert compact.get_layer("scored").value_dim == 4


def test_grouped_query_attention(harness):
    attention = layers.GroupQueryAttention(3, 4, 2, name="attention")
    model = attention_model(harness, attention)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    put(model.get_layer("after").kernel, [0, 2])
    # The heads that share the second head of keys are not read.
    put(attention._output_dense.kernel, [2, 3])
    compact, report = harness.cut(model)
    new = compact.get_layer("attention")
    assert (new.num_query_heads, new.num_key_value_heads, new.head_dim) == (2, 1, 3)
    assert report.channels["before"] == (8, 7)


@pytest.mark.parametrize(("keys", "values", "left"), [([0], [1, 2], 4), ([0, 3], [1, 2], 3)])
def test_grouped_query_attention_widths(keys, values, left, harness):
    attention = layers.GroupQueryAttention(5, 4, 2, name="attention")
    model = attention_model(harness, attention)
    # Keys that are the same everywhere and values that are constant; the wider side decides.
    put(attention._key_dense.kernel, (..., keys))
    put(attention._value_dense.kernel, (..., values))
    compact, _ = harness.cut(model)
    assert compact.get_layer("attention").head_dim == left


@pytest.mark.parametrize(("bias", "left"), [(0.0, 3), (0.4, 5)])
@pytest.mark.parametrize("kind", ["MultiHeadAttention", "GroupQueryAttention"])
@pytest.mark.tensorflow  # JAX's attention has one width for keys and values
def test_gated_attention(kind, bias, left, harness):
    sizes = (2, 5) if kind == "MultiHeadAttention" else (5, 4, 2)
    attention = getattr(layers, kind)(*sizes, use_gate=True, name="attention")
    model = attention_model(harness, attention, cross=True)
    put(model.get_layer("before").kernel, (..., [0, 5]))
    put(model.get_layer("after").kernel, [0, 5])
    # The gate scales a constant differently from place to place, but not zero.
    put(attention._value_dense.kernel, (..., [1, 2]))
    put(attention._value_dense.bias, (..., [1, 2]), bias)
    if kind == "GroupQueryAttention":
        put(model.get_layer("other").kernel, (..., [1, 2, 3]))
    put(attention._key_dense.kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    new = compact.get_layer("attention")
    assert new._gate_dense.kernel.shape == (6, sizes[0] if sizes[0] < 5 else 4, left)
    assert report.channels["before"] == (8, 6)
    # A grouped query attention wants its value as wide as its query.
    assert report.channels["other"] == (8, 8 if kind == "MultiHeadAttention" else 6)


@pytest.mark.parametrize("third", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        layers.Attention,
        lambda **kw: layers.Attention(use_scale=True, **kw),
        lambda **kw: layers.Attention(score_mode="concat", **kw),
        layers.AdditiveAttention,
    ],
)
def test_attention_without_projections(make, third, harness):
    x = keras.Input((5, 4))
    q, v, k = (layers.Dense(6, name=name)(x) for name in "qvk")
    attention = make(name="attention")
    y = attention([q, v, k] if third else [q, v])
    model = keras.Model(x, layers.Dense(2)(y))
    harness.randomise(model)
    # Keys that are constant, values that are constant.
    put(model.get_layer("v").kernel, (..., [1, 2]))
    if third:
        put(model.get_layer("k").kernel, (..., [0, 1, 4]))
    _, report = harness.cut(model)
    if third:
        assert widths(report, "q", "v", "k") == [3, 4, 3]
    else:
        assert widths(report, "q", "v") == [4, 4]


def test_attention_without_projections_drops_silent_scores(harness):
    x = keras.Input((5, 4))
    q, v, k = (layers.Dense(6, name=name)(x) for name in "qvk")
    y = layers.Attention(name="dot")([q, v, k])
    z = layers.AdditiveAttention(name="additive")([q, v, k])
    model = keras.Model(x, [layers.Dense(2)(y), layers.Dense(2)(z)])
    harness.randomise(model)
    put(model.get_layer("q").kernel, (..., [0, 3]))
    put(model.get_layer("q").bias, [0, 3])
    put(model.get_layer("additive").scale, [0, 5])
    _, report = harness.cut(model)
    # Channel 0 is silent in both: a query of zero in one, a scale of zero in the other.
    assert report.layers["q"].kept.tolist() == report.layers["k"].kept.tolist() == [1, 2, 3, 4, 5]
    assert report.channels["v"] == (6, 6)


def test_attention_without_projections_with_masks(harness):
    tokens = keras.Input((5,), dtype="int32")
    x = layers.Embedding(2, 4, mask_zero=True)(tokens)
    q, v = layers.Dense(6, name="q")(x), layers.Dense(6, name="v")(x)
    model = keras.Model(tokens, layers.Dense(2)(layers.Attention()([q, v])))
    harness.randomise(model)
    for name in "qv":
        put(model.get_layer(name).kernel, (..., [1, 2]))
        put(model.get_layer(name).bias, 1)
    _, report = harness.cut(model)
    # Where the query is masked the output is zero, so constants do not pass, but zeros do.
    assert report.layers["q"].kept.tolist() == report.layers["v"].kept.tolist() == [0, 2, 3, 4, 5]


# One layer at every step.

STEPS = {
    "dense": lambda: layers.Dense(6, activation="relu", use_bias=False),
    "conv": lambda: layers.Conv2D(6, 2),
    "same": lambda: layers.Conv2D(6, 3, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(2),
    "batch_norm": layers.BatchNormalization,
    "pool": lambda: layers.MaxPooling2D(2),
    "flatten": layers.Flatten,
    "average": layers.GlobalAveragePooling2D,
    "activation": lambda: layers.Activation("tanh"),
}


@pytest.mark.parametrize("name", STEPS)
def test_time_distributed(name, harness, tmp_path):
    x = inputs = keras.Input((3, 5, 4, 2))
    x = layers.TimeDistributed(layers.Conv2D(6, 1, activation="sigmoid"), name="a")(x)
    x = layers.TimeDistributed(STEPS[name](), name="b")(x)
    model = keras.Model(inputs, layers.TimeDistributed(layers.Dense(2))(x))
    harness.randomise(model)
    put(model.get_layer("a").layer.kernel, (..., [1, 4]))
    if name in ("dense", "conv", "same"):
        put(model.get_layer("b").layer.kernel, (..., [2]))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 5 if name == "same" else 4)
    if name in ("dense", "conv", "same"):
        assert report.channels["b"] == (6, 5)
    compact.save(tmp_path / "smaller.keras")
    harness.compare(compact, keras.saving.load_model(tmp_path / "smaller.keras"))


def test_time_distributed_model_and_recurrence(harness):
    x = inputs = keras.Input((3, 5, 2))
    x = layers.TimeDistributed(layers.LSTM(6), name="rnn")(layers.Dense(6, name="a")(x))
    block = keras.Sequential([keras.Input((6,)), layers.Dense(6), layers.ReLU()], name="block")
    model = keras.Model(inputs, layers.Dense(2)(layers.TimeDistributed(block, name="b")(x)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    silence(model.get_layer("rnn").layer.cell, "LSTM", [1, 4])
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)
    assert report.channels["rnn"] == (6, 6)
    assert report.reasons["rnn"] == {"b: Sequential has no rule": 2}


# Normalisations.


@pytest.mark.parametrize(
    ("make", "dead", "kept"),
    [
        (lambda: layers.GroupNormalization(groups=-1), [1, 4], 4),
        (lambda: layers.GroupNormalization(groups=3), [2, 3], 4),
        (lambda: layers.GroupNormalization(groups=3), [1, 4], 6),
        (layers.LayerNormalization, [1, 4], 6),
        (lambda: layers.BatchNormalization(renorm=True), [1, 4], 4),
    ],
)
def test_normalisations_with_constants(make, dead, kept, harness):
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, activation="sigmoid", name="a")(x)
    x = make()(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(layers.ReLU()(x)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., dead))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, kept)


@pytest.mark.parametrize(
    "make", [layers.Masking, layers.RMSNormalization, layers.UnitNormalization]
)
@pytest.mark.parametrize(("bias", "kept"), [(0.0, 4), (0.3, 6)])
def test_norms_lose_zeros_only(make, bias, kept, harness):
    x = inputs = keras.Input((5,))
    x = layers.Dense(6, name="a")(x)
    model = keras.Model(inputs, layers.Dense(2)(make()(x)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("a").bias, [1, 4], bias)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, kept)


def test_layer_normalisation_with_zero_gamma_is_folded(harness):
    x = inputs = keras.Input((5,))
    x = layers.Dense(6, name="a")(x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.Dense(4, name="b", use_bias=False)(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("norm").gamma, [0, 3])
    put(model.get_layer("b").kernel, np.ix_([1, 2, 4, 5], [2]))
    _, report = harness.cut(model)
    assert widths(report, "a", "norm", "b") == [6, 6, 3]


def test_adapted_normalization_and_rescaling(harness):
    normalization = layers.Normalization()
    normalization.adapt(harness.rng.standard_normal((50, 4)) * 3 + 1)
    x = inputs = keras.Input((4,))
    x = layers.Rescaling(0.5, 0.1)(normalization(x))
    x = layers.Dense(6, activation="relu", name="a")(x)
    x = layers.Rescaling(2.0, offset=1.0)(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (layers.Normalization, 4),
        (lambda: layers.Normalization(axis=None), 4),
        (lambda: layers.Normalization(invert=True), 4),
        (lambda: layers.Normalization(mean=0.3, variance=2.0), 4),
        (lambda: layers.Normalization(mean=list(range(6)), variance=list(range(1, 7))), 4),
        (lambda: layers.Normalization(axis=(1, -1)), 6),
        (lambda: layers.Rescaling(list(range(1, 7)), offset=0.3), 4),
        (lambda: layers.Rescaling(0.5, offset=np.arange(6) / 10), 4),
    ],
)
def test_normalization_and_rescaling_between_layers(make, kept, harness, tmp_path):
    x = inputs = keras.Input((5, 4, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    x = make()(x)
    model = keras.Model(inputs, layers.Conv2D(2, 2)(x))
    harness.randomise(model)
    for layer in model.layers:
        getattr(layer, "finalize_state", lambda: None)()
    put(model.get_layer("a").kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, kept)
    compact.save(tmp_path / "smaller.keras")
    harness.compare(compact, keras.saving.load_model(tmp_path / "smaller.keras"))


# Shapes.


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_flatten_permute_reshape(data_format, harness):
    x = inputs = keras.Input((5, 6, 3))
    x = layers.Conv2D(8, 2, activation="relu", name="a")(x)
    if data_format == "channels_first":
        x = layers.Permute((3, 1, 2))(x)
    x = layers.Flatten(data_format=data_format)(x)
    x = layers.Dense(12, activation="relu", name="b")(x)
    x = layers.Reshape((2, 2, 3))(x)
    x = layers.Conv2D(4, 2, name="c")(x)
    x = layers.Reshape((4,))(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("b").kernel, (..., [1, 4, 7, 10]))
    put(model.get_layer("b").bias, [1, 4, 7, 10], 0.3)
    put(model.get_layer("c").kernel, (..., [3]))
    _, report = harness.cut(model)
    assert widths(report, "a", "b", "c") == [6, 8, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.UpSampling2D(2),
        lambda: layers.Cropping2D(1),
        lambda: layers.MaxPooling2D(3, padding="same"),
        lambda: layers.AveragePooling2D(3, padding="same"),
        lambda: layers.AdaptiveAveragePooling2D(2),
        lambda: layers.SpatialDropout2D(0.3),
        lambda: layers.GaussianNoise(0.3),
        layers.PReLU,
        lambda: layers.PReLU(shared_axes=[1, 2]),
        lambda: layers.LeakyReLU(0.2),
        layers.ELU,
    ],
)
def test_constants_pass(make, harness):
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(6, 1, name="a")(x)
    x = make()(x)
    model = keras.Model(inputs, layers.Conv2D(2, 2, name="b")(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("a").bias, [1, 4], 0.6)
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)


def test_bilinear_upsampling(harness):
    harness.use_precision("float32")  # TensorFlow interpolates in float32 only
    test_constants_pass(lambda: layers.UpSampling2D(2, interpolation="bilinear"), harness)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("layer", [layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D])
def test_global_pooling(layer, keepdims, harness):
    x = inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(6, 1, activation="sigmoid", name="a")(x)
    x = layer(keepdims=keepdims)(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)


# keras.ops.

OPERATIONS = {
    "arithmetic": lambda x: (2.0 - x * 3.0) / 4.0 + np.arange(6.0) + x**2,
    "activations": lambda x: ops.hard_silu(ops.relu6(x)) + ops.softplus(x) - ops.tanh(x),
    "extremes": lambda x: ops.maximum(ops.minimum(x, 0.4), -0.3) * ops.clip(x, -1.0, 1.0),
    "mean": lambda x: ops.mean(x, axis=(1, 2)),
    "sum": lambda x: ops.sum(x, axis=1, keepdims=True),
    "max": lambda x: ops.max(x, axis=2),
    "transpose": lambda x: ops.transpose(ops.transpose(x, (0, 3, 1, 2)), (0, 2, 3, 1)),
    "reshape": lambda x: ops.reshape(x, (-1, 16, 6)),
    "concatenate": lambda x: ops.concatenate([x, ops.square(x)], axis=-1),
    "slice": lambda x: x[:, 1:, ::2],
    "index": lambda x: x[:, 0],
    "part": lambda x: x[..., 1:5],
    "cast": lambda x: ops.cast(ops.cast(x, "float32"), "float64"),
    "swish": lambda x: x * ops.sigmoid(x),
    "squeeze_excite": lambda x: x * ops.mean(x, axis=(1, 2), keepdims=True),
    "squeeze": lambda x: ops.squeeze(ops.expand_dims(x, (1, -2)), -2)[:, 0],
    "new axis": lambda x: x[:, None, ..., 1:, :],
    "swapaxes": lambda x: ops.swapaxes(ops.swapaxes(x, 1, 3) * 2.0, 3, 1),
    "moveaxis": lambda x: ops.moveaxis(ops.moveaxis(x, -1, 1) * 2.0, (1, 2), (3, 1)),
    "spread": lambda x: ops.std(x, axis=2) + ops.var(x, axis=1) + ops.prod(x, axis=1),
    "any": lambda x: ops.cast(ops.any(x > 0.9, axis=(1, 2)), "float64") + ops.median(x, (1, 2)),
    "functions": lambda x: ops.arctan(ops.log(x)) * ops.floor(x * 3.0),
    "split": lambda x: ops.add(*ops.split(x, 2, axis=1)),
    "split channels": lambda x: ops.concatenate(
        [part * (i + 1.0) for i, part in enumerate(ops.split(x, (1, 3), axis=-1))], axis=-1
    ),
    "stack": lambda x: ops.stack([x, x], axis=2),
    "stack last": lambda x: ops.mean(ops.stack([x, x * 1.0], axis=-1), axis=-1),
    "where": lambda x: ops.where(x > 0.5, x, ops.logical_not(x < 0.3) * 0.1),
    "take": lambda x: ops.take(ops.take(x, [0, 2], axis=1), np.array([[1], [3]]), axis=2),
    "take channels": lambda x: ops.take(x, [5, 0, 1, 0, -2], axis=-1),
    "array": lambda x: x @ np.arange(18.0).reshape(6, 3),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, harness, tmp_path):
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, activation="sigmoid", name="a")(x)
    model = keras.Model(inputs, layers.Dense(2)(OPERATIONS[name](x)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    compact, report = harness.cut(model)
    kept = {"part": 2, "take channels": 2}.get(name, 4)
    assert report.channels["a"] == (6, kept)
    compact.save(tmp_path / "smaller.keras")
    harness.compare(compact, keras.saving.load_model(tmp_path / "smaller.keras"))


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("split", [ops.split, ops.unstack])
def test_parts_that_only_another_split_reads(harness, parts, split):
    x = keras.Input((3, 8 if split is ops.split else parts))
    y = layers.Dense(x.shape[-1], name="a")(x)
    pieces = [split(y, parts, axis=-1)[i] for i in range(parts)]
    total = pieces[0]
    for piece in pieces[1:]:
        total = ops.add(total * 2.0, piece)
    model = keras.Model(x, layers.Dense(2)(total) if split is ops.split else total)
    harness.randomise(model)
    harness.kill(model)
    harness.cut(model)


def test_split_leaves_out_what_nobody_reads(harness):
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, activation="sigmoid", name="a")(x)
    first, _, last = ops.split(x, 3, axis=-1)
    x = layers.Conv2D(2, 1, name="b")(first)
    model = keras.Model(inputs, ops.concatenate([x, layers.Conv2D(2, 1)(last)], axis=-1))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1]))
    _, report = harness.cut(model)
    assert report.layers["a"].kept.tolist() == [0, 4, 5]


def test_where_the_condition_is_constant(harness):
    x = inputs = keras.Input((4, 4, 2))
    a = layers.Conv2D(6, 1, name="a")(x)
    b = layers.Conv2D(6, 1, activation="sigmoid", name="b")(x)
    model = keras.Model(inputs, layers.Dense(2)(ops.where(a > 0.0, 2.0, b)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    put(model.get_layer("a").bias, [1, 4], [0.5, -0.5])
    _, report = harness.cut(model)
    # Where a is not positive, b is read.
    assert report.layers["a"].kept.tolist() == report.layers["b"].kept.tolist() == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("bias", [0.0, 0.7])
def test_attention_written_by_hand(bias, harness):
    x = keras.Input((5, 4))
    q, k, v = (layers.Dense(6, name=name)(x) for name in "qkv")
    scores = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) / 6.0)
    model = keras.Model(x, layers.Dense(2)(ops.matmul(scores, v)))
    harness.randomise(model)
    # A query or a key that is zero adds nothing, and what a key that is constant adds is ignored by
    # the softmax. A value that is zero stays so.
    for name, dead in (("q", [1]), ("k", [4]), ("v", [2, 3])):
        put(model.get_layer(name).kernel, (..., dead))
        put(model.get_layer(name).bias, dead)
    put(model.get_layer("k").bias, 4, bias)
    _, report = harness.cut(model)
    assert report.channels["q"] == report.channels["k"] == (6, 4)
    assert report.channels["v"] == (6, 4)
    pairs = [group.layers for group in report.groups if "q" in group.layers]
    assert [set(pair) for pair in pairs] == [{"q", "k"}]


def test_heads_written_by_hand(harness):
    x = keras.Input((5, 4))

    def heads(y):
        return ops.transpose(ops.reshape(y, (-1, 5, 2, 3)), (0, 2, 1, 3))

    q, k, v = (heads(layers.Dense(6, name=name)(x)) for name in "qkv")
    y = ops.matmul(ops.softmax(ops.matmul(q, ops.swapaxes(k, -1, -2))), v)
    y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, 5, 6))
    model = keras.Model(x, layers.Dense(2)(y))
    harness.randomise(model)
    # Dimension 1 of both heads.
    for name in "qkv":
        put(model.get_layer(name).kernel, (..., [1, 4]))
        put(model.get_layer(name).bias, [1, 4])
    _, report = harness.cut(model)
    assert widths(report, "q", "k", "v") == [4, 4, 4]


@pytest.mark.parametrize(("mode", "kept"), [("constant", 5), ("reflect", 4)])
def test_pad(mode, kept, harness):
    x = inputs = keras.Input((5, 5, 2))
    x = layers.Conv2D(6, 1, activation="sigmoid", name="a")(x)
    x = ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), mode=mode)
    model = keras.Model(inputs, layers.Conv2D(2, 3)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, kept)


@pytest.mark.parametrize(
    "operation",
    [
        ops.softmax,
        lambda x: ops.cumsum(x, axis=-1),
        lambda x: ops.mean(x, axis=-1, keepdims=True) + x,
        lambda x: ops.take(x, 2, axis=-1),
        lambda x: ops.take(x, ops.cast(ops.max(x, axis=(0, 1, 2)) > 0.5, "int32"), axis=-1),
        _lambda,
    ],
)
def test_unknown_operations_are_left_whole(operation, harness):
    x = inputs = keras.Input((4, 4, 2))
    x = layers.Conv2D(6, 1, activation="sigmoid", name="a")(x)
    model = keras.Model(inputs, layers.Dense(2)(operation(x)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 6)
    assert report.reasons["a"]


def test_registered_rule_for_a_custom_layer(harness):
    @keras.saving.register_keras_serializable(package="test")
    class ChannelScale(layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=(shape[-1],), name="factor")

        def call(self, x):
            return x * self.factor

    def network():
        x = inputs = keras.Input((5,))
        x = ChannelScale(name="scale")(layers.Dense(6, name="a")(x))
        model = keras.Model(inputs, layers.Dense(2)(x))
        harness.randomise(model)
        put(model.get_layer("a").kernel, (..., [1]))
        put(model.get_layer("scale").factor, [4])
        return model

    assert harness.cut(network())[1].channels["a"] == (6, 6)

    @surgery.register_rule(ChannelScale)
    class ChannelScaleRule(surgery.Elementwise):
        channel_weights = ("factor",)
        scale = "factor"

    assert harness.cut(network())[1].channels["a"] == (6, 4)


class Scaled(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), name="factor", initializer="ones")

    def call(self, x):
        return x * self.factor


@pytest.mark.parametrize(
    "question", ["coupled_channels", "removed_together", "inner_channels", "slices", "macs"]
)
@pytest.mark.filterwarnings("ignore:.* is left whole", "ignore:.* are not counted")
def test_a_rule_that_fails_stops_nothing(question, harness):
    def fail(*arguments):
        raise RuntimeError("no")

    attributes = {"channel_weights": ("factor",), question: fail}
    surgery.register_rule(Scaled)(type("Rule", (surgery.Elementwise,), attributes))
    x = keras.Input((5,))
    y = layers.Dense(4)(Scaled(name="scaled")(layers.Dense(6, name="a")(x)))
    model = keras.Model(x, layers.Dense(2)(layers.ReLU()(y)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1]))
    _, report = harness.cut(model)
    counted = question == "macs"
    assert report.channels["a"] == (6, 5 if counted else 6)
    assert counted or "RuntimeError: no" in str(report.reasons["a"])
    assert surgery.count_macs(model).total == 5 * 6 + 6 * 4 + 4 * 2
    (free,) = (
        group
        for group in surgery.channel_groups(model)[:-1]
        if not group.fixed and group.size == (6 if counted else 4)
    )
    assert free.layers


@pytest.mark.parametrize("rule", [int, None, surgery.Unsupported()])
def test_what_is_no_rule(rule):
    with pytest.raises(ValueError, match="rule"):
        surgery.register_rule(layers.Masking)(rule)
    with pytest.raises(ValueError, match="layer classes"):
        surgery.register_rule(3)


@pytest.mark.parametrize("kind", ["MultiHeadAttention", "GroupQueryAttention"])
@pytest.mark.tensorflow  # JAX's attention has one width for keys and values
def test_attention_where_all_is_masked(kind, harness):
    """The softmax sums to zero there, so one constant of a head has to stay."""
    x, mask = keras.Input((5, 8)), keras.Input((5, 5), dtype="bool")
    heads = (2, 4) if kind == "MultiHeadAttention" else (4, 4, 2)
    attention = getattr(layers, kind)(*heads, name="attention")
    model = keras.Model([x, mask], layers.Dense(3)(attention(x, x, attention_mask=mask)))
    harness.randomise(model)
    for weight in attention.weights:
        if weight.path.endswith("value/kernel"):
            put(weight, (..., [0, 1, 3]))
        if "/query/" in weight.path:
            put(weight, (..., [1, 2]))
    compact, report = harness.cut(model)
    cuts = [cut(np.zeros(cut.shape)) for path, cut in report.slices.items() if "value/k" in path]
    assert cuts[0].shape[-1] == 2
    inputs = [harness.rng.standard_normal((2, 5, 8)), np.zeros((2, 5, 5), bool)]
    inputs[1][:, 1:, :2] = True
    difference, _ = verify.largest_difference(model, compact, inputs)
    assert difference < 1e-14


@pytest.mark.parametrize("kind", ["in both directions", "one cell twice"])
def test_stacked_cells_that_stay_whole(kind, harness):
    x = inputs = keras.Input((5, 4))
    x = layers.Dense(4, name="before")(x)
    cell = layers.SimpleRNNCell(4)
    rnn = layers.RNN([cell, layers.GRUCell(4) if kind == "in both directions" else cell])
    x = layers.Bidirectional(rnn)(x) if kind == "in both directions" else rnn(x)
    model = keras.Model(inputs, layers.Dense(3, name="last")(layers.Dense(6, name="wide")(x)))
    harness.randomise(model)
    put(model.get_layer("last").kernel, [1, 2])
    compact, report = harness.cut(model)
    assert report.channels["wide"] == (6, 4)
    assert len(compact.layers[2].weights) == len(model.layers[2].weights)
