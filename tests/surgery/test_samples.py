"""The check draws what the models take, or says that it could not; or it takes the user's own."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery import verify


class Positions(layers.Layer):
    """Adds a table of positions, which is as long as it is."""

    def __init__(self, count, **arguments):
        super().__init__(**arguments)
        self.count = count

    def build(self, shape):
        self.table = self.add_weight(shape=(self.count, shape[-1]), name="table")

    def call(self, x):
        return x + self.table[: ops.shape(x)[1]]

    def compute_output_shape(self, shape):
        return shape


def with_dead_channels(harness, inputs, y):
    """A model that ends in two dense layers on a tensor, a third of the first's units dead."""
    y = layers.Dense(6, activation="relu", name="a")(y)
    model = keras.Model(inputs, layers.Dense(2, name="out")(y))
    harness.randomise(model)
    harness.kill(model)
    return model


def positions(harness):
    x, other = keras.Input((None, 4)), keras.Input((None, 4))
    y, z = Positions(12)(x), Positions(5)(other)
    y = layers.Add()([layers.GlobalAveragePooling1D()(tensor) for tensor in (y, z)])
    return with_dead_channels(harness, [x, other], y)


def picture_and_words(harness):
    """64 pixels are too few for the convolution, 64 words too many."""
    picture, words = keras.Input((None, None, 2)), keras.Input((None,), dtype="int32")
    y = layers.Conv2D(4, (65, 1))(picture)
    z = Positions(9)(layers.Embedding(7, 4)(words))
    y = layers.Add()([layers.GlobalAveragePooling2D()(y), layers.GlobalMaxPooling1D()(z)])
    return with_dead_channels(harness, [picture, words], y)


def patches(harness):
    x = keras.Input((None, 2))
    return with_dead_channels(harness, x, ops.reshape(x, (-1, 7, 2)))


def one_sample(harness):
    x = keras.Input((4, 4, 3))
    return with_dead_channels(harness, x, ops.reshape(x, (1, 16, 3)))


def fixed_batch(harness):
    x = keras.Input(batch_shape=(1, 4, 4, 3))
    return with_dead_channels(harness, x, ops.reshape(x, (1, 16, 3)))


def words(harness):
    x = keras.Input((1,), dtype="string")
    y = layers.Flatten()(layers.Embedding(10, 4)(layers.Hashing(10)(x)))
    return with_dead_channels(harness, x, y)


def bytes_and_bools(harness):
    x = keras.Input((4,), dtype="uint8", name="x")
    valid = keras.Input((4,), dtype="bool", name="valid")
    y = ops.where(valid, ops.cast(x, "float32"), 0.0)
    return with_dead_channels(harness, {"x": x, "valid": valid}, y)


def words_in_a_subclass(harness):
    class Reader(keras.Model):
        def __init__(self):
            super().__init__()
            self.numbers = layers.StringLookup(vocabulary=["x", "y"], output_mode="one_hot")
            self.a = layers.Dense(6, activation="relu", name="a")
            self.out = layers.Dense(2, name="out")

        def call(self, inputs):
            y = ops.concatenate([inputs["size"], self.numbers(inputs["word"])], -1)
            return {"y": self.out(self.a(y))}

    model = Reader()
    model({"word": np.array([["x"], ["y"]]), "size": np.ones((2, 3))})
    harness.randomise(model)
    harness.kill(model)
    return model


@pytest.mark.parametrize(
    "build",
    [
        positions,
        patches,
        one_sample,
        fixed_batch,
        bytes_and_bools,
        pytest.param(picture_and_words, marks=pytest.mark.tensorflow),
        pytest.param(words, marks=pytest.mark.tensorflow),
        pytest.param(words_in_a_subclass, marks=pytest.mark.tensorflow),
    ],
)
def test_inputs_that_the_model_takes(build, harness):
    _, report = harness.cut(build(harness))
    assert report.channels["a"] == (6, 5)


def slices(table, other):
    """One input with numbers and ids of two tables side by side, all of it float."""
    x = keras.Input((4,))
    ids = ops.cast(x[:, 2:], "int32")
    rows = [table(ids[:, :1]), layers.Reshape((1, 3))(other(ids[:, 1:]))]
    return x, layers.Concatenate()([x[:, :2], *map(layers.Flatten(), rows)])


def text(table, other):
    x = keras.Input((None,), dtype="int64")
    return x, layers.Concatenate()([table(x), other(layers.Dropout(0.5)(x))])


def within(table, other):
    """Two of the layers that look into tables lie in layers of the user's own."""

    class Inner(layers.Layer):
        def __init__(self, part):
            super().__init__()
            self.part = part

        def call(self, x):
            return self.part(x)

    x = keras.Input((3, 1), dtype="int32")
    return x, layers.Concatenate()(
        [layers.TimeDistributed(table)(x), Inner(other)(layers.Reshape((3, 1))(x))]
    )


def changed(table, other):
    """Ids that are counted from -1, and ids that are limited, as models of users have them."""
    x = keras.Input((6,), dtype="int32")
    rest = ops.floor_divide(ops.clip(x[:, 3:], 0, 39) * 2, 2)
    return x, layers.Concatenate()([table(x[:, :3] + 1), other(ops.minimum(rest, 39))])


@pytest.mark.parametrize("build", [slices, text, within, changed])
def test_every_row_of_an_embedding_is_compared(build, harness):
    table, other = layers.Embedding(23, 3), layers.Embedding(40, 3)
    model = with_dead_channels(harness, *build(table, other))
    compact, _ = surgery.remove_dead_channels(model)
    rows = ops.convert_to_numpy(table.embeddings)
    for row in (2, 11, 22):
        changed = rows.copy()
        changed[row] += 1
        table.embeddings.assign(changed)
        assert verify.compare(model, compact)[0] > 1e-3
    table.embeddings.assign(rows)
    assert verify.compare(model, compact)[0] < 1e-5


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: ops.one_hot(x, 30),
        layers.CategoryEncoding(30, output_mode="one_hot"),
        lambda x: ops.take(np.arange(60.0, dtype="float32").reshape(30, 2), x, axis=0),
    ],
    ids=["one_hot", "encoding", "take"],
)
def test_ids_of_encodings(layer, harness):
    x = keras.Input((), dtype="int64")
    model = with_dead_channels(harness, x, layer(x))
    assert set(verify.random_inputs(model)) == set(range(30))


def test_inputs_of_your_own(harness):
    a, b = keras.Input((4,), name="zeta"), keras.Input((4,), name="alpha")
    model = with_dead_channels(harness, [a, b], layers.Subtract()([a, b * 100.0]))
    arrays = {name: harness.rng.standard_normal((70, 4)) for name in ("alpha", "zeta")}
    ordered = [arrays["zeta"], arrays["alpha"]]
    for inputs in (arrays, ordered, tuple(ordered)):
        compact, report = surgery.remove_dead_channels(model, verify=inputs)
        assert report.max_error < 1e-5
    broken = harness.rng.standard_normal(2)
    compact.get_layer("out").bias.assign(broken)
    differences = [verify.compare(model, compact, inputs)[0] for inputs in (arrays, ordered)]
    assert differences[0] == differences[1] > 0


@pytest.mark.parametrize(
    "inputs",
    [
        *("yes", None, 3, [], [[1.0, 2.0]], np.ones(()), np.ones((0, 4)), {"x": "y"}),
        *(np.full((2, 4), np.nan), np.full((2, 4), -np.inf)),
        *(np.full((2, 4), 1e300), np.full((2, 4), 1j)),
    ],
    ids=repr,
)
def test_what_is_no_input(inputs, harness):
    model = with_dead_channels(harness, *[keras.Input((4,))] * 2)
    for function in (
        lambda: surgery.remove_dead_channels(model, verify=inputs),
        lambda: surgery.zero_channels(model, 0.1, verify=inputs),
    ):
        with pytest.raises(ValueError, match="`verify` must be"):
            function()


@pytest.mark.parametrize(
    ("batch", "inputs", "message"),
    [
        (None, np.ones((3, 5)), "does not take"),
        (None, [np.ones((3, 4)), np.ones((3, 4))], "does not take"),
        (2, np.ones((3, 4)), "multiple of 2"),
        (None, {"x": np.ones((3, 4)), "y": np.ones((3, 4))}, "has y, which is no input"),
    ],
)
def test_inputs_that_do_not_fit(batch, inputs, message, harness):
    x = keras.Input((4,), batch_size=batch, name="x")
    model = with_dead_channels(harness, x, x)
    with pytest.raises(ValueError, match=message):
        surgery.remove_dead_channels(model, verify=inputs)


def test_a_check_that_cannot_run_says_so(harness):
    x = keras.Input((None, 4))
    model = with_dead_channels(harness, x, ops.reshape(x, (-1, 77, 4)))
    with pytest.raises(ValueError, match=r"could not run.*`verify=x`.*shape"):
        surgery.remove_dead_channels(model)
    with pytest.raises(ValueError, match="could not run"):
        surgery.zero_channels(model, 0.0)
    own = harness.rng.standard_normal((2, 77, 4))
    assert surgery.remove_dead_channels(model, verify=own)[1].max_error < 1e-5
    assert surgery.remove_dead_channels(model, verify=False)[1].max_error is None
    assert surgery.zero_channels(model, 0.0, verify=own)[1].max_error == 0
    assert surgery.zero_channels(model, 0.0, verify=False)[1].max_error is None
