"""`keras.ops` and their layers: outputs stay, and as much is removed as can be."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery

pytestmark = pytest.mark.usefixtures("float64")

MEAN, VARIANCE, OFFSET = np.arange(8) / 10, np.arange(1.0, 9.0), np.arange(8) / 8
NO_SCALE = np.array([0, 1.0, 1, 1, 1, 1, 1, 1])


def put(weight, index, value=0.0):
    """Sets a part of a weight."""
    array = weight.numpy()
    array[index] = value
    weight.assign(array)


def lowest(x, size):
    """Max pooling behind a border that no maximum sees."""
    padded = ops.pad(x, ((0, 0), (1, 1), (1, 0), (0, 0)), constant_values=-np.inf)
    return ops.max_pool(padded, size, strides=1)


# Each with the channels that are left of eight, of which 1, 3, 5 and 7 are constant.
OPERATIONS = {
    "average_pool": (lambda x: ops.average_pool(x, 3, strides=1, padding="same"), 4),
    "max_pool": (lambda x: ops.max_pool(x, 2, padding="same"), 4),
    "adaptive_max_pool": (lambda x: ops.adaptive_max_pool(x, (2, 2)), 4),
    "pad with -inf, max_pool": (lambda x: lowest(x, 2), 4),
    "pad with -inf, narrow max_pool": (lambda x: ops.maximum(lowest(x, 1), 0.0), 8),
    "pad with 0, max_pool": (lambda x: layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(x)), 4),
    "pad with 1, max_pool": (
        lambda x: ops.max_pool(ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "constant", 1.0), 2),
        5,  # one carries the constants
    ),
    "pad by reflection": (lambda x: ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), "reflect"), 4),
    "pad symmetrically": (lambda x: ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), "symmetric"), 4),
    "pad with a value": (
        lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), constant_values=0.5),
        5,  # one carries the constants
    ),
    "pad the channels": (lambda x: ops.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1))), 8),
    "batch_normalization": (
        lambda x: ops.batch_normalization(x, MEAN, VARIANCE, -1, offset=OFFSET, scale=NO_SCALE),
        3,
    ),
    "space_to_depth": (lambda x: ops.space_to_depth(x, 2), 4),
    "depth_to_space": (lambda x: ops.depth_to_space(x, 2), 4),
    "depth_to_space, channels first": (
        lambda x: ops.transpose(
            ops.depth_to_space(ops.transpose(x, (0, 3, 1, 2)), 2, data_format="channels_first"),
            (0, 2, 3, 1),
        ),
        4,
    ),
    "unstack": (lambda x: ops.add(*ops.unstack(x, axis=2)[:2]), 4),
    "unstack the channels": (
        lambda x: ops.stack([y * 2.0 for y in ops.unstack(x, axis=-1)[:3]], axis=-1),
        3,
    ),
    "nan_to_num": (ops.nan_to_num, 4),
    "norm": (lambda x: ops.norm(x, axis=1) + ops.norm(x, ord=np.inf, axis=2), 4),
    "norm of a matrix": (lambda x: ops.norm(x, axis=(1, 2), keepdims=True) * x, 4),
    "norm of another order": (lambda x: ops.norm(x, ord=3, axis=1, keepdims=True), 4),
    "nuclear norm": (lambda x: ops.norm(x, ord="nuc", axis=(1, 2)), 8),
    "logsumexp": (lambda x: ops.logsumexp(x, axis=(1, 2)), 4),
    "hypot": (lambda x: ops.hypot(x, np.full(8, 0.5)), 4),
    "arctan2": (lambda x: ops.arctan2(np.arange(8.0), x), 4),
    "floor_divide": (lambda x: ops.floor_divide(x, 0.1), 4),
    "mod": (lambda x: x % 0.1, 4),
    "logaddexp": (lambda x: ops.logaddexp(x, x[:, :1]), 4),
    "softmax along an axis": (lambda x: ops.softmax(x, axis=1), 4),
    "softmax layer along an axis": (layers.Softmax(axis=1), 4),
    "cumsum": (lambda x: ops.cumsum(x, axis=1), 8),
    "sort": (lambda x: ops.sort(x, axis=2), 4),
    "roll": (lambda x: ops.roll(x, 1, axis=1), 4),
    "roll the channels": (lambda x: ops.roll(x, 1, axis=-1), 8),
    "flip": (lambda x: ops.flip(x, axis=1), 4),
    "flip everything": (ops.flip, 4),
    "repeat": (lambda x: ops.repeat(x, 2, axis=-1), 4),
    "repeat rows": (lambda x: ops.repeat(x, [1, 0, 2, 1], axis=1), 8),
    "tile": (lambda x: ops.tile(x, (1, 2, 1, 3)), 4),
    "crop": (lambda x: ops.image.crop_images(x, 1, 0, target_height=2, target_width=3), 4),
    # The constants are below 0.58.
    "sum over zeros": (lambda x: ops.sum(ops.relu(x - 0.58), axis=-1, keepdims=True), 4),
    "norm over zeros": (lambda x: ops.norm(ops.relu(x - 0.58), axis=-1, keepdims=True), 4),
    "norm over constants": (lambda x: ops.norm(x, axis=-1, keepdims=True), 8),
    # What touches the batch.
    "fold heads into the batch": (
        lambda x: ops.reshape(
            ops.transpose(ops.reshape(x, (-1, 16, 2, 4)), (0, 2, 1, 3)), (-1, 16, 4)
        ),
        4,
    ),
    "fold windows into the batch": (lambda x: ops.reshape(x, (-1, 2, 2, 8)), 4),
    "fold everything": (lambda x: ops.reshape(x, (-1, 1)), 8),
    "join batches": (lambda x: ops.concatenate([x, x * 2.0], axis=0), 8),
    "join equal batches": (lambda x: ops.concatenate([x, x[:, ::-1]], axis=0), 4),
    "stack batches": (lambda x: ops.stack([x, x], axis=0), 8),
    "tile the batch": (lambda x: ops.tile(x, (2, 1, 1, 1)), 4),
    "tile in front of the batch": (lambda x: ops.tile(x, (2, 1, 1, 1, 1)), 4),
    "repeat the batch": (lambda x: ops.repeat(x, 2, axis=0), 4),
    "flip the batch": (lambda x: ops.flip(x, axis=0), 4),
    "take of the batch": (lambda x: ops.take(x, [0], axis=0), 8),
    "mean of the batch": (lambda x: x - ops.mean(x, axis=0, keepdims=True), 4),
    "sum of the batch": (lambda x: ops.sum(x, axis=0), 8),
    "new axis first": (lambda x: ops.expand_dims(x, 0), 8),
    "there and back": (lambda x: ops.squeeze(ops.expand_dims(x, 0), 0), 8),
    "transpose the batch": (lambda x: ops.transpose(x, (1, 0, 2, 3)), 8),
    "roll the batch": (lambda x: ops.roll(x, 1, axis=0), 4),
}


def network(operation, harness, shape=(4, 4, 2)):
    x = inputs = keras.Input(shape)
    x = layers.Conv2D(8, 1, activation="sigmoid", name="a")(x)
    model = keras.Model(inputs, layers.Dense(2, name="out")(operation(x)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 3, 5, 7]))
    put(model.get_layer("a").bias, [1, 3, 5, 7], 0.3)
    return model


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name, harness):
    operation, kept = OPERATIONS[name]
    _, report = harness.cut(network(operation, harness))
    assert report.channels["a"] == (8, kept)
    assert ("a" in report.reasons) == bool({1, 3, 5, 7} & {*report.layers["a"].kept})


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: lambda x: ops.image.resize(x, (7, 3)), 4),
        (lambda: lambda x: ops.image.resize(x, (7, 3), "bicubic", antialias=True), 4),
        (lambda: lambda x: ops.image.resize(x, (6, 3), pad_to_aspect_ratio=True), 5),
        (lambda: layers.Resizing(6, 2, interpolation="nearest"), 4),
    ],
)
def test_resizing(make, kept, harness):
    harness.use_precision("float32")  # TensorFlow interpolates in float32 only
    _, report = harness.cut(network(make(), harness))
    assert report.channels["a"] == (8, kept)


def test_arrays_of_operations_are_saved(harness, tmp_path):
    compact, _ = harness.cut(network(OPERATIONS["batch_normalization"][0], harness))
    compact.save(tmp_path / "smaller.keras")
    harness.compare(compact, keras.saving.load_model(tmp_path / "smaller.keras"))


@pytest.mark.parametrize("operation", [ops.greater, ops.floor_divide])
def test_constants_are_computed_in_the_layers_precision(operation, harness):
    harness.use_precision("float32")
    x = inputs = keras.Input((4,))
    x = layers.Dense(3, name="a")(x)
    x = ops.cast(operation(x, 0.1), "float32")
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 2]))
    # The nearest float32 are not above 0.1 and three times 0.1 in float64.
    put(model.get_layer("a").bias, [1, 2], [0.1, 0.3])
    _, report = harness.cut(model)
    assert report.channels["a"] == (3, 1)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_reshape_after_an_open_axis(data_format, harness):
    x = inputs = keras.Input((None, 4, 3))
    x = layers.Dense(6, name="a")(x)
    if data_format == "channels_first":
        x = layers.Permute((1, 3, 2))(x)
    x = layers.Reshape((-1, 24))(x)
    model = keras.Model(inputs, layers.Dense(2)(x))
    harness.randomise(model)
    put(model.get_layer("a").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert report.channels["a"] == (6, 4)


def test_a_mean_over_the_batch_does_not_give_the_shape(harness):
    x = inputs = keras.Input((4,))
    x = layers.Dense(6, name="a")(x)
    mean = ops.mean(layers.Dense(6, name="b")(x), axis=0, keepdims=True)
    model = keras.Model(inputs, layers.Dense(2)(ops.add(x, mean)))
    harness.randomise(model)
    put(model.get_layer("a").kernel, ...)
    compact, _ = harness.cut(model)
    assert compact(np.ones((3, 4))).shape == (3, 2)


@pytest.mark.parametrize("method", ["refuses", "forward", "needs", "resolve"])
def test_a_rule_that_fails_stops_no_other(method, harness, monkeypatch):
    def fail(self, of):
        raise IndexError(of)

    monkeypatch.setattr(type(surgery.rules.base._RULES["Roll"]), method, fail)
    roll = OPERATIONS["roll"][0]
    model = network(lambda x: roll(layers.Conv2D(4, 1, name="b")(x)), harness)
    put(model.get_layer("b").kernel, (..., [2]))
    with pytest.warns(UserWarning, match=r"roll.* is left whole: its rule raised IndexError"):
        _, report = harness.cut(model)
    assert report.channels == {"a": (8, 4), "b": (4, 4), "out": (2, 2)}
    (reason,) = report.reasons["b"]
    assert "its rule raised IndexError" in reason


# Reasons.


def reasons(model, harness, *dead, **biases):
    """What the report says of `a`, whose channels 1 and 4 are dead, and of the layers in `dead`."""
    harness.randomise(model)
    for name in ("a", *dead):
        put(model.get_layer(name).kernel, (..., [1, 4]))
        put(model.get_layer(name).bias, [1, 4], biases.get(name, 0.0))
    return harness.cut(model)[1].reasons


def test_reason_is_who_needs_a_product_that_is_zero(harness):
    x = keras.Input((5,))
    gate = layers.Dense(6, activation="sigmoid")(x)
    y = layers.Multiply()([layers.Dense(6, name="a")(x), gate])
    model = keras.Model(x, layers.Dense(2)(layers.LayerNormalization(name="norm")(y)))
    assert reasons(model, harness) == {"a": {"norm: mixes channels": 2}}


def test_reason_is_a_gate_of_one_channel(harness):
    x = keras.Input((5,))
    gate = layers.Dense(1, activation="sigmoid", name="gate")(x)
    y = layers.Multiply(name="product")([layers.Dense(6, name="a")(x), gate])
    model = keras.Model(x, layers.Dense(2)(y))
    assert reasons(model, harness, a=0.5) == {"a": {"product: alive in gate": 2}}


def test_reason_is_another_constant_in_another_call(harness):
    x = keras.Input((5,))
    shared = layers.Dense(3, name="shared")
    branches = [shared(layers.Dense(6, name=name)(x)) for name in "ab"]
    model = keras.Model(x, layers.Concatenate()(branches))
    reason = {"shared: not one constant in all its calls": 2}
    assert reasons(model, harness, "b", a=0.7, b=0.3) == {"a": reason, "b": reason}


def test_reason_is_a_call_on_what_is_alive(harness):
    x = keras.Input((6,))
    a = layers.Dense(6, name="a")
    model = keras.Model(x, layers.Dense(2)(a(a(x))))
    assert reasons(model, harness) == {"a": {"a: not one constant in all its calls": 2}}


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        (2, "shuffle: its constant depends on the position"),
        (3, "split: coupled to channels that are not constant"),
    ],
)
def test_reason_is_a_channel_shuffle(groups, reason, harness):
    x = keras.Input((5, 4))
    y = layers.Reshape((5, groups, 6 // groups), name="split")(layers.Dense(6, name="a")(x))
    y = layers.Reshape((5, 6))(layers.Permute((1, 3, 2), name="shuffle")(y))
    model = keras.Model(x, layers.Dense(2)(y))
    assert reasons(model, harness, a=[0.5, 0.7]) == {"a": {reason: 2}}


def test_reason_is_a_branch_that_is_not_the_layers_own(harness):
    x = keras.Input((5, 5, 4))
    y = layers.Conv2D(6, 1, name="a")(x)
    branches = [
        layers.Conv2D(6, 3, padding="same", name="b")(y),
        layers.BatchNormalization(name="norm")(y),
    ]
    y = layers.Add(name="sum")(branches)
    model = keras.Model(x, layers.Conv2D(2, 1)(y))
    found = reasons(model, harness, "b", a=0.5)
    carried = "b: carries the constants under its padded border"
    assert found["a"] == {carried: 1}
    assert found["b"] == {f"kept with the input of norm: {carried}": 1}


def test_report_groups_the_reasons_and_weighs_them(harness):
    x = inputs = keras.Input((6, 6, 2))
    for i in range(3):
        x = layers.Conv2D(6, 1, activation="sigmoid", name=f"conv_{i}")(x)
        x = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise_{i}")(x)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(x))
    harness.randomise(model)
    for i in range(3):
        put(model.get_layer(f"conv_{i}").kernel, (..., [1, 4]))
    _, report = harness.cut(model)
    assert len(report.reasons) > 1
    grouped = {group.reason: group for group in report.dead_kept}
    first = grouped["depthwise, padding 'same'"]
    assert first.layers == ("conv_0", "conv_1", "conv_2")
    # Two filters each: of 2 and of 6 inputs with a bias, at 36 positions.
    assert (first.channels, first.parameters, first.macs) == (6, 34, 36 * 28)
    assert "conv_0 and 2 more" in str(report)
    assert {group["reason"] for group in report.to_dict()["dead_kept"]} == set(grouped)
