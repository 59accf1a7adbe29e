"""Layers that surgery need not change come out as they went in, whatever their config is like."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_sparse import surgery
from keras_sparse.surgery import verify


class Scale(layers.Layer):
    """A scale for each channel and a function, of which no config tells."""

    def __init__(self, function, **arguments):
        super().__init__(**arguments)
        self.function = function

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="random_normal", name="scale")

    def call(self, x):
        return self.function(x * self.scale)


def ones(shape, dtype=None):
    """An initializer that no config can name."""
    return ops.ones(shape, dtype)


class Hidden(layers.Layer):
    """Two layers in a layer, a list of layers and a random generator."""

    def __init__(self, units):
        super().__init__()
        self.parts = [layers.Dense(units, activation="relu"), layers.Dropout(0.5)]

    def build(self, shape):
        self.parts[0].build(shape)

    def call(self, x, training=None):
        return self.parts[1](self.parts[0](x), training=training)

    def get_config(self):
        raise NotImplementedError("no config")


class Closed(Hidden):
    """Computes with the size of the batch, so that surgery does not look inside."""

    def build(self, shape):
        super().build(shape)
        self.scale = self.add_weight(shape=shape[-1:], name="scale")

    def call(self, x, training=None):
        share = 4.0 / ops.cast(ops.shape(x)[0], x.dtype)
        return super().call(x * self.scale * share, training=training)


class Network(layers.Layer):
    """Models in a layer."""

    def __init__(self, units):
        super().__init__()
        self.chain = keras.Sequential([layers.Dense(units), layers.Dropout(0.5)])
        x = keras.Input((units,))
        self.graph = keras.Model(x, layers.Add()([x, layers.Dense(units)(x)]))

    def build(self, shape):
        self.chain.build(shape)

    def call(self, x, training=None):
        return self.graph(self.chain(x, training=training), training=training)

    def get_config(self):
        raise NotImplementedError("no config")


@keras.saving.register_keras_serializable(package="test")
class Doubled(keras.Model):
    """A functional model with its own call."""

    def call(self, x):
        return super().call(x) * 2.0


def doubled():
    x = keras.Input((6,))
    return Doubled(x, layers.Dense(6)(layers.Dense(6, activation="relu")(x)))


class Times(layers.Layer):
    """Its config forgets the factor."""

    def __init__(self, factor=1.0, **arguments):
        super().__init__(**arguments)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return super().get_config()


class Counting(layers.Layer):
    """A layer for which there is a rule; as many weights as it is told."""

    def __init__(self, weights=2, config=True, **arguments):
        super().__init__(**arguments)
        self.count, self.with_config = weights, config

    def build(self, shape):
        self.parts = [self.add_weight(shape=shape[-1:], name=f"part{i}") for i in range(self.count)]

    def call(self, x):
        return x * sum(self.parts)

    def get_config(self):
        if not self.with_config:
            raise NotImplementedError("no config")
        return super().get_config()


@surgery.register_rule(Counting)
class CountingRule(surgery.Elementwise):
    channel_weights = ("part0", "part1", "part2")


def around(layer, harness, dead=(1, 4)):
    """Dense, the layer, dense; two channels before and after it are dead."""
    x = keras.Input((5,))
    y = layer(layers.Dense(6, activation="relu", name="a")(x))
    y = layers.Dense(6, activation="relu", name="b")(y)
    model = keras.Model(x, layers.Dense(2, name="c")(y))
    harness.randomise(model)
    for name in "ab":
        kernel = np.array(ops.convert_to_numpy(model.get_layer(name).kernel))
        kernel[:, list(dead)] = 0
        model.get_layer(name).kernel.assign(kernel)
    return model


@pytest.mark.parametrize(
    ("layer", "left"),
    [
        (lambda: layers.Identity(dtype=keras.DTypePolicy("float32")), 4),
        (lambda: Scale(ops.tanh), 6),
        (lambda: Hidden(6), 4),
        (lambda: Closed(6), 6),
        (lambda: Network(6), 4),
        (doubled, 6),
        (lambda: Times(3.0), 4),
        (lambda: layers.Lambda(lambda x: x * 2), 6),
        (lambda: layers.PReLU(alpha_initializer=ones), 4),
    ],
    ids=[
        "policy",
        "no config",
        "layers within",
        "layers and weights",
        "models within",
        "own call",
        "forgets",
        "lambda",
        "initializer",
    ],
)
def test_config_that_does_not_round_trip(layer, left, harness):
    model = around(layer(), harness)
    compact, report = harness.cut(model)
    assert (report.channels["a"], report.channels["b"]) == ((6, left), (6, 4))
    assert report.notes.keys() <= {model.layers[2].name}
    assert not {id(v) for v in model.variables} & {id(v) for v in compact.variables}


def test_a_copy_with_a_graph_is_saved(harness, tmp_path):
    compact, _ = harness.cut(around(doubled(), harness))
    compact.save(tmp_path / "smaller.keras")
    harness.compare(compact, keras.saving.load_model(tmp_path / "smaller.keras"))


@pytest.mark.parametrize("layer", [Hidden, Network])
def test_a_copy_trains_alone(layer, harness):
    model = around(layer(6), harness)
    compact, _ = harness.cut(model)
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    compact.compile("sgd", "mse")
    compact.fit(np.ones((4, 5)), np.ones((4, 2)), verbose=0)
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), value)
    changed = compact.layers[2].weights[0], model.layers[2].weights[0]
    assert not np.array_equal(*map(ops.convert_to_numpy, changed))


def test_a_layer_that_cannot_be_copied_is_shared_and_named(harness):
    layer = Scale(lambda x: x * layer.scale, name="scale")
    model = around(layer, harness)
    compact, report = harness.cut(model)
    assert compact.get_layer("scale").scale is layer.scale
    assert "shares its weights" in report.notes["scale"][0]
    assert "scale: shares its weights" in str(report)


def test_shared_weights_are_not_zeroed(harness):
    class Around(Scale):
        def __init__(self):
            super().__init__(lambda x: self.inner(x) + 1.0)
            self.inner = layers.Dense(6)

        def build(self, shape):
            super().build(shape)
            self.inner.build(shape)

    model = around(Around(), harness)
    with pytest.raises(ValueError, match="cannot be copied"):
        surgery.zero_channels(model, 1e9)


def test_what_must_change_and_cannot_stays_whole(harness):
    _, report = harness.cut(around(Counting(config=False, name="count"), harness))
    assert (report.channels["a"], report.channels["b"]) == ((6, 6), (6, 4))
    assert "cannot be made again" in next(iter(report.reasons["a"]))
    assert "no config" in report.notes["count"][0]


@pytest.mark.parametrize("weights", [1, 3])
def test_other_weights_after_making_again(weights, harness):
    model = around(Counting(weights, name="count"), harness)
    with pytest.raises(ValueError, match=r"'count'.*part[12]"):
        surgery.remove_dead_channels(model)


def test_names_that_two_nested_models_share(harness):
    def block(name):
        return keras.Sequential([layers.Dense(6, name="d"), Scale(ops.tanh, name="s")], name=name)

    x = keras.Input((5,))
    model = keras.Model(x, layers.Dense(2)(block("two")(block("one")(x))))
    harness.randomise(model)
    compact, report = harness.cut(model)
    assert len({variable.path for variable in compact.variables}) == len(compact.variables)
    assert set(report.slices) == {variable.path for variable in compact.weights}


@pytest.mark.tensorflow
def test_tables_of_adapted_layers(harness):
    numbers, words = layers.IntegerLookup(), layers.TextVectorization(output_sequence_length=4)
    numbers.adapt(np.array([10, 20, 30]))
    words.adapt(["a b c d", "b c"])
    bins = layers.Discretization(num_bins=3, output_mode="one_hot")
    bins.adapt(np.arange(30.0))
    code, text, size = (
        keras.Input((1,), dtype="int64"),
        keras.Input((), dtype="string"),
        keras.Input((1,)),
    )
    y = layers.Concatenate()(
        [
            layers.Flatten()(layers.Embedding(4, 3)(numbers(code))),
            layers.Flatten()(layers.Embedding(6, 2)(words(text))),
            bins(size),
        ]
    )
    model = keras.Model([code, text, size], layers.Dense(2)(layers.Dense(6, name="a")(y)))
    harness.randomise(model)
    harness.kill(model)
    compact, report = harness.cut(model)
    assert report.channels["a"] == (6, 5)
    inputs = [np.array([[20], [99]]), np.array(["c b", "z a"]), np.array([[3.0], [25.0]])]
    assert verify.compare(model, compact, inputs)[0] < 1e-6


def test_state_that_moves_is_the_same_and_stays(harness):
    class Noise(layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(1)

        def call(self, x):
            return x + keras.random.normal(ops.shape(x), seed=self.generator)

    x = keras.Input(batch_shape=(2, 3, 4))
    y = Noise()(layers.LSTM(5, stateful=True, name="lstm")(x))
    model = keras.Model(x, layers.Dense(2)(layers.Dense(6, name="a")(y)))
    harness.randomise(model)
    harness.kill(model)
    model(np.ones((2, 3, 4)))
    states = [ops.convert_to_numpy(state) for state in model.get_layer("lstm").states]
    harness.cut(model)
    assert np.any(states[0])
    for before, state in zip(states, model.get_layer("lstm").states, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(state), before)


def test_dead_channels_in_a_layer_of_layers_are_named(harness):
    model = around(Closed(6), harness)
    inner = model.layers[2].parts[0]
    kernel = np.array(ops.convert_to_numpy(inner.kernel))
    kernel[:, :3] = 0
    inner.kernel.assign(kernel)
    _, report = harness.cut(model)
    dead, macs = report.notes[model.layers[2].name]
    assert dead.startswith(f"3 channels with zero weights stay ({inner.name}: 3)")
    assert "not counted" in macs
    assert report.to_dict()["notes"] == report.notes


class Matrix(layers.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 6), name="kernel")

    def call(self, x):
        return ops.matmul(x, self.kernel)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (
            layers.Dense(6, activation=lambda x: ops.flip(ops.relu(x), -1) + 1, name="a"),
            "<lambda> mixes channels",
        ),
        (Matrix(name="a"), "Matrix has no rule"),
    ],
)
def test_dead_channels_whose_output_is_not_known_are_named(harness, layer, reason):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2)(layer(x)))
    kernel = np.ones((4, 6))
    kernel[:, 2:5] = 0
    layer.kernel.assign(kernel)
    _, report = harness.cut(model)
    note = report.notes["a"][0]
    assert note.startswith(f"3 channels with zero weights stay (a: 3): {reason}"), note


def test_single_weights_stay_frozen():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a"), layers.Dense(2)])
    model.layers[0].kernel.assign(np.eye(3, 4))
    model.layers[0].kernel.trainable = model.layers[1].bias.trainable = False
    compact, report = surgery.remove_dead_channels(model)
    assert report.channels["a"] == (4, 3)
    assert [weight.trainable for weight in compact.weights] == [False, True, True, False]
