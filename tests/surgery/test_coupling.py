"""Coupled channels: what belongs to a channel, and that it goes with all of it."""

import importlib.util
import pathlib

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from tests.surgery.groups import parameters_without, randomise


def _blocks():
    path = pathlib.Path(__file__).with_name("test_random_graphs.py")
    spec = importlib.util.spec_from_file_location("random_graphs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BLOCKS


BLOCKS = _blocks()
# Constants that are not zero where the input is: a carrier may have to stay for them.
CONSTANTS = {"activation", "normalization", "of_two", "operators"}


def free_groups(model):
    return [g for g in surgery.channel_groups(model) if not g.fixed]


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - {"layer_norm"}))
def test_what_belongs_to_a_channel_goes_with_it(name):
    rng = np.random.default_rng(len(name))
    x = keras.Input((4, 4, 4))
    y = BLOCKS[name](layers.Conv2D(7, 1)(x), 6)
    y = layers.Conv2D(3, 3, padding="same")(y)
    model = keras.Model(x, layers.Dense(2, name="out")(layers.Flatten()(y)))
    randomise(model, rng)
    groups = free_groups(model)
    assert groups
    masks = {g: rng.random(g.size) < 0.4 for g in groups}
    for mask in masks.values():
        mask[: (len(mask) + 1) // 2] = False
        mask[-1] = len(mask) > 1
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, masks))
    expected = parameters_without(model, masks)
    assert expected < model.count_params()
    if name in CONSTANTS:
        assert expected <= compact.count_params() < model.count_params()
    else:
        assert compact.count_params() == expected


def test_a_channel_stays_unless_all_of_its_members_are_zero():
    x = keras.Input((4, 4, 3))
    a = layers.Conv2D(4, 1, name="a")(x)
    b = layers.Conv2D(4, 1, name="b")(a)
    model = keras.Model(x, layers.Conv2D(2, 1, name="c")(layers.Add(name="sum")([a, b])))
    randomise(model, np.random.default_rng(0))
    group = next(g for g in surgery.channel_groups(model) if "a" in g.layers)
    assert (group.layers, group.size, group.joined_by) == (("a", "b"), 4, ("sum",))
    assert {(s.layer, s.weight, s.axis) for s in group.readers} == {
        ("b", "kernel", 2),
        ("c", "kernel", 2),
    }
    zeroed = surgery.zero_groups(model, {group: [1]})
    _, report = surgery.remove_dead_channels(zeroed)
    assert report.channels["a"] == report.channels["b"] == (4, 3)
    kernel = zeroed.get_layer("b").kernel
    value = np.array(kernel)
    value[..., 1] = 1
    kernel.assign(value)
    _, report = surgery.remove_dead_channels(zeroed)
    assert report.channels["a"] == (4, 4)


def test_layers_of_different_width_share_a_group_in_part():
    x = keras.Input((4, 4, 3))
    a = layers.Conv2D(6, 1, name="a")(x)
    b = layers.Conv2D(4, 1, name="b")(x)
    c = layers.Conv2D(10, 1, name="c")(x)
    y = layers.Add()([layers.Concatenate()([a, b]), c])
    groups = free_groups(keras.Model(x, layers.Conv2D(2, 1, name="d")(y)))
    assert [(g.layers, g.size, g.name) for g in groups] == [
        (("a", "c"), 6, "a"),
        (("b", "c"), 4, "b"),
    ]
    (kernel,) = (s for s in groups[1].members if (s.layer, s.weight) == ("c", "kernel"))
    assert kernel.channels.tolist() == [-1] * 6 + [0, 1, 2, 3]


def test_grouped_convolutions_lose_a_channel_of_each_group():
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(6, 1, name="a")(x)
    y = layers.Conv2D(4, 1, groups=2, name="b")(y)
    groups = free_groups(keras.Model(x, layers.Conv2D(2, 1, name="c")(y)))
    assert [(g.layers, g.size) for g in groups] == [(("a",), 3), (("b",), 2)]
    assert [s.channels.tolist() for s in groups[0].members if s.weight == "bias"] == [[0, 1, 2] * 2]


def test_flatten_gives_a_channel_several_rows():
    x = keras.Input((2, 2, 3))
    y = layers.Flatten()(layers.Conv2D(3, 1, name="a")(x))
    (group, _) = surgery.channel_groups(keras.Model(x, layers.Dense(2, name="b")(y)))
    (reader,) = group.readers
    assert reader.channels.tolist() == [0, 1, 2] * 4
    assert reader.sums(np.ones((12, 2)), 3).tolist() == [8, 8, 8]


def test_heads_are_a_group():
    x = keras.Input((5, 8))
    y = layers.MultiHeadAttention(4, 3, name="mha")(x, x)
    model = keras.Model(x, layers.Dense(2)(y))
    randomise(model, np.random.default_rng(0))
    heads = next(g for g in surgery.channel_groups(model) if g.name == "mha/heads")
    assert heads.size == 4
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, {heads: [0, 2]}))
    assert compact.get_layer("mha").num_heads == 2


@pytest.mark.parametrize("kind", ["output", "normalised", "unknown"])
def test_fixed_groups_say_why(kind):
    class Unknown(layers.Layer):
        def build(self, shape):
            self.factor = self.add_weight(shape=())

        def call(self, x):
            return ops.sort(x, axis=-1) * self.factor

    x = keras.Input((4,))
    y = layers.Dense(3, name="a")(x)
    after = {"output": lambda y: y, "normalised": layers.LayerNormalization(), "unknown": Unknown()}
    y = after[kind](y)
    y = y if kind == "output" else layers.Dense(2)(y)
    group = surgery.channel_groups(keras.Model(x, y))[0]
    reason = {"output": "output of the model", "normalised": "mixes", "unknown": "has no rule"}
    assert reason[kind] in group.fixed
    with pytest.raises(ValueError, match=r"'a', of which none can be removed"):
        surgery.zero_groups(keras.Model(x, y), {group: [0]})


def test_nothing_of_a_channel_is_left_behind_a_normalisation():
    x = keras.Input((4, 4, 3))
    y = layers.Conv2D(4, 3, padding="same", use_bias=False, name="a")(x)
    y = layers.BatchNormalization(scale=False, name="bn")(y)
    y = layers.Conv2D(2, 3, padding="same", use_bias=False, name="b")(y)
    model = keras.Model(x, layers.Conv2D(2, 1)(y))
    randomise(model, np.random.default_rng(0))
    zeroed = surgery.zero_groups(model, {free_groups(model)[0]: [2]})
    compact, report = surgery.remove_dead_channels(zeroed)
    assert report.channels["a"] == (4, 3)
    assert not compact.get_layer("b").use_bias


def test_the_model_itself_is_left_alone():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    before = model.get_weights()
    surgery.zero_groups(model, {free_groups(model)[0]: np.array([True, False, False])})
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nested_and_shared_layers():
    shared = layers.Dense(5, name="shared")
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(5, name="hidden")], name="inner")
    x = keras.Input((5,))
    y = shared(inner(shared(x)))
    model = keras.Model(x, layers.Dense(2)(y))
    randomise(model, np.random.default_rng(0))
    groups = surgery.channel_groups(model)
    # The shared layer reads the model's input, so what it reads cannot go.
    assert [(g.layers, bool(g.fixed)) for g in groups[:2]] == [
        (("inner/hidden",), True),
        (("shared",), False),
    ]


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([3], "indices below 3"),
        ([-1], "indices below 3"),
        ([True], "indices below 3"),
        ([0.5], "0.5"),
    ],
)
def test_channels_that_the_group_does_not_have(channels, message):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    with pytest.raises(ValueError, match=message):
        surgery.zero_groups(model, {free_groups(model)[0]: channels})


def test_groups_without_channels():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(2)])
    with pytest.raises(ValueError, match="`chosen` must be a dict from groups to channels"):
        surgery.zero_groups(model, surgery.channel_groups(model))


def test_groups_of_another_model():
    def make(name):
        return keras.Sequential([keras.Input((4,)), layers.Dense(3, name=name), layers.Dense(2)])

    with pytest.raises(ValueError, match="not of this model"):
        surgery.zero_groups(make("b"), {free_groups(make("a"))[0]: [0]})
    with pytest.raises(ValueError, match="must have groups"):
        surgery.zero_groups(make("b"), {"a": [0]})


def tower(name):
    inputs = keras.Input((8,))
    hidden = layers.Dense(16, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(4, name="out")(hidden), name=name)


def test_weights_with_one_path_are_refused_and_the_way_out_works():
    inputs = keras.Input((8,))
    x = layers.Concatenate()([tower("a")(inputs), tower("b")(inputs)])
    model = keras.Model(inputs, layers.Dense(1)(x))
    with pytest.raises(ValueError, match=r"2 weights with the path '.*hidden/kernel'"):
        surgery.channel_groups(model)
    flat, _ = surgery.remove_dead_channels(model)
    a, b = [g for g in surgery.channel_groups(flat) if g.layers[0].endswith("hidden")]
    _, report = surgery.remove_dead_channels(surgery.zero_groups(flat, {a: [0, 1], b: [2]}))
    assert [report.channels[group.layers[0]] for group in (a, b)] == [(16, 14), (16, 15)]


@keras.saving.register_keras_serializable(package="tests")
class BuiltInside(layers.Layer):
    """A layer around one that is built first, so that the path has no outer name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.Dense(8, name="same")
        self.inner.build((None, 8))

    def call(self, inputs):
        return self.inner(inputs)


def around(outer, x):
    x = outer(layers.Reshape((4, 8))(x))
    x = layers.Dense(6, activation="relu", name="same")(layers.Flatten()(x))
    return layers.Dense(2)(x)


@pytest.mark.parametrize(
    "make", [lambda: layers.TimeDistributed(layers.Dense(8, name="same")), BuiltInside]
)
@pytest.mark.parametrize("saved", [False, True])
def test_a_layer_inside_another_may_have_the_name_of_an_outer_one(make, saved, tmp_path):
    inputs = keras.Input((32,))
    model = keras.Model(inputs, around(make(), inputs))
    if saved:
        model.save(tmp_path / "m.keras")
        model = keras.models.load_model(tmp_path / "m.keras")
    flat, _ = surgery.remove_dead_channels(model)
    assert len({weight.path for weight in flat.weights}) == len(flat.weights)
    group = next(g for g in surgery.channel_groups(flat) if g.layers == ("same",))
    zeroed = surgery.zero_groups(flat, {group: [0, 1]})
    compact, report = surgery.remove_dead_channels(zeroed)
    assert report.channels["same"] == (6, 4)
    x = np.random.default_rng(0).standard_normal((3, 32)).astype("float32")
    outputs = (network.predict(x, verbose=0) for network in (compact, zeroed))
    np.testing.assert_allclose(*outputs, atol=1e-5)


def twice(layer):
    return lambda x: layer(layer(x))


def around_itself(layer):
    def call(x):
        return layers.Add()([x, layer(x)])

    return call


REPEATED = {
    "dense": ((8,), lambda: twice(layers.Dense(8, "relu"))),
    "sum": ((8,), lambda: around_itself(twice(layers.Dense(8, "relu")))),
    "grouped": ((4, 4, 8), lambda: twice(layers.Conv2D(8, 1, groups=2))),
    "separable": ((4, 4, 8), lambda: twice(layers.SeparableConv2D(8, 3, padding="same"))),
    "gru": ((4, 8), lambda: twice(layers.GRU(8, return_sequences=True))),
}


@pytest.mark.parametrize("kind", REPEATED)
def test_a_layer_that_reads_its_own_output_loses_channels(kind):
    shape, make = REPEATED[kind]
    inputs = keras.Input(shape)
    x = make()(layers.Dense(8, "relu", name="first")(inputs))
    model = keras.Model(inputs, layers.Dense(2, name="out")(layers.Flatten()(x)))
    randomise(model, np.random.default_rng(0))
    (group,) = [g for g in free_groups(model) if "first" in g.layers]
    masks = {group: np.arange(group.size) == group.size - 1}
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, masks))
    assert compact.count_params() == parameters_without(model, masks) < model.count_params()


def test_two_directions_with_different_cells():
    inputs = keras.Input((4, 5))
    both = layers.Bidirectional(layers.LSTM(6), backward_layer=layers.GRU(6, go_backwards=True))
    model = keras.Model(inputs, layers.Dense(2)(both(inputs)))
    randomise(model, np.random.default_rng(0))
    (group,) = free_groups(model)
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, {group: [0, 3]}))
    assert compact.layers[1].forward_layer.units == compact.layers[1].backward_layer.units == 4


def test_the_last_of_stacked_cells_loses_channels():
    inputs = keras.Input((4, 5))
    stack = layers.RNN([layers.LSTMCell(6), layers.GRUCell(5)])
    model = keras.Model(inputs, layers.Dense(2)(stack(inputs)))
    randomise(model, np.random.default_rng(0))
    (group,) = free_groups(model)
    masks = {group: np.isin(np.arange(5), [0, 3])}
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, masks))
    assert [cell.units for cell in compact.layers[1].cell.cells] == [6, 3]
    assert compact.count_params() == parameters_without(model, masks)


def test_an_adapted_normalization_computes_with_the_zeros():
    inputs = keras.Input((5,))
    norm = layers.Normalization(name="norm")
    norm.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)).astype("float32"))
    x = norm(layers.Dense(4, name="made")(inputs))
    model = keras.Model(inputs, layers.Dense(2)(x))
    (group,) = free_groups(model)
    zeroed = surgery.zero_groups(model, {group: [0, 2]})
    seen = keras.Model(zeroed.inputs, zeroed.get_layer("norm").output)
    values = seen.predict(np.ones((2, 5), "float32"), verbose=0)
    assert (values[:, [0, 2]] == 0).all()
    assert (values[:, [1, 3]] != 0).all()
