"""Whole models: what goes in, what comes out, what is refused."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import surgery
from keras_sparse.surgery import verify

pytestmark = pytest.mark.usefixtures("float64")


def lenet():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(20, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(50, 5, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(500, activation="tanh"),
            layers.Dense(10, activation="softmax"),
        ],
        name="lenet",
    )


def residual():
    x = inputs = keras.Input((12, 12, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = shortcut = layers.ReLU()(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    x = layers.Add()([x, shortcut])
    x = layers.ReLU(6.0)(x)
    x = layers.Concatenate()([x, layers.Conv2D(6, 1)(x)])
    x = layers.Conv2D(10, 3, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3)(x))


def test_sequential(harness):
    model = lenet()
    harness.randomise(model)
    harness.kill(model, 0.4)
    compact, report = harness.cut(model)
    assert isinstance(compact, keras.Sequential)
    assert compact.name == "lenet"
    assert list(report.channels.values()) == [(20, 12), (50, 30), (50, 30), (500, 300), (10, 10)]
    assert [layer.name for layer in compact.layers] == [layer.name for layer in model.layers]


def test_noise_is_found_in_the_type_of_the_backend(harness):
    """A float64's last place would be lost on JAX and PyTorch, where Keras computes in float32."""
    model = lenet()
    harness.randomise(model)
    _, noise = verify.largest_difference(model, model, verify.random_inputs(model))
    assert noise > 0


def test_residual(harness):
    model = residual()
    harness.randomise(model)
    harness.kill(model, 0.5)
    _, report = harness.cut(model)
    # The residual sum keeps one carrier under the padded convolutions.
    assert [after for _, after in report.channels.values()] == [5, 5, 5, 5, 3, 5, 3]
    assert report.macs[1] < 0.5 * report.macs[0]


def test_nothing_dead_is_left_alone(harness):
    model = lenet()
    harness.randomise(model)
    compact, report = harness.cut(model)
    assert report.parameters[0] == report.parameters[1]
    for a, b in zip(model.weights, compact.weights, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_smaller_model_saves_loads_and_trains(harness, tmp_path):
    model = residual()
    harness.randomise(model)
    harness.kill(model)
    compact, _ = harness.cut(model)
    compact.save(tmp_path / "smaller.keras")
    loaded = keras.saving.load_model(tmp_path / "smaller.keras")
    harness.compare(compact, loaded)
    compact.compile("sgd", "mse")
    x = harness.rng.standard_normal((8, 12, 12, 3))
    compact.fit(x, np.zeros((8, 3)), verbose=0)
    assert np.isfinite(compact.predict(x, verbose=0)).all()


def test_float32_within_1e_5(harness):
    harness.use_precision("float32")
    model = residual()
    harness.randomise(model)
    harness.kill(model)
    _, report = harness.cut(model)
    assert report.max_error < 1e-5


def test_structures_of_inputs_and_outputs(harness):
    a, b = keras.Input((4,), name="a"), keras.Input((5,), name="b")
    x = layers.Concatenate()([layers.Dense(6)(a), layers.Dense(6)(b)])
    y = layers.Dense(6, activation="relu")(x)
    model = keras.Model({"a": a, "b": b}, {"y": layers.Dense(2)(y), "z": [layers.Dense(1)(x)]})
    harness.randomise(model)
    harness.kill(model, 0.5)
    compact, report = harness.cut(model)
    outputs = compact({"a": np.ones((1, 4)), "b": np.ones((1, 5))})
    assert set(outputs) == {"y", "z"}
    assert list(report.channels.values()) == [(6, 3), (6, 3), (6, 3), (1, 1), (2, 2)]


def test_nested_and_shared_models(harness):
    block = keras.Sequential([layers.Dense(6, activation="relu"), layers.Dense(6)], name="block")
    a, b = keras.Input((5,)), keras.Input((5,))
    model = keras.Model([a, b], layers.Dense(2)(layers.Add()([block(a), block(b)])))
    harness.randomise(model)
    harness.kill(model, 0.5)
    _, report = harness.cut(model)
    inner = [channels for name, channels in report.channels.items() if name.startswith("block/")]
    assert inner == [(6, 3), (6, 3)]


def test_subclassed_model_is_traced(harness):
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(10, activation="relu", name="hidden")
            self.head = layers.Dense(3, name="head")

        def call(self, x):
            return self.head(self.hidden(x) * 2.0)

    model = Classifier()
    model(np.zeros((1, 4)))
    harness.randomise(model)
    harness.kill(model, 0.5)
    _, report = harness.cut(model)
    assert report.channels == {"hidden": (10, 5), "head": (3, 3)}


def test_subclassed_model_with_several_inputs_is_traced(harness):
    class Sum(keras.Model):
        def __init__(self):
            super().__init__()
            self.a = layers.Dense(6, activation="tanh", name="a")
            self.b = layers.Dense(6, activation="tanh", name="b")
            self.head = layers.Dense(2, name="head")

        def call(self, inputs):
            first, second = inputs
            return self.head(self.a(first) + self.b(second))

    model = Sum()
    model([np.zeros((1, 4)), np.zeros((1, 5))])
    harness.randomise(model)
    harness.kill(model, 0.5)
    _, report = harness.cut(model)
    assert report.channels["a"] == report.channels["b"] == (6, 3)


def test_report_as_json_and_table(harness, tmp_path):
    model = residual()
    harness.randomise(model)
    harness.kill(model)
    _, report = harness.cut(model)
    path = tmp_path / "report.json"
    assert json.loads(report.to_json(path)) == json.loads(path.read_text()) == report.to_dict()
    table = str(report)
    assert all(name in table for name in report.layers)
    report.plot(tmp_path / "channels.png")
    assert (tmp_path / "channels.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["channels.png", "report.json"]


def test_macs():
    model = lenet()
    macs = surgery.count_macs(model)
    counts = [24 * 24 * 25 * 20, 8 * 8 * 25 * 20 * 50, 800 * 500, 500 * 10]
    assert list(macs.layers.values()) == counts
    assert macs.total == sum(counts)


def test_what_is_no_model():
    with pytest.raises(ValueError, match="must be a"):
        surgery.remove_dead_channels(layers.Dense(3))


def test_what_is_not_built():
    with pytest.raises(ValueError, match="is not built"):
        surgery.remove_dead_channels(keras.Sequential([layers.Dense(3)]))


@pytest.mark.parametrize("multiple", [0, -8, 2.5, "8"])
def test_bad_channel_multiple(multiple):
    with pytest.raises(ValueError, match="channel_multiple"):
        surgery.remove_dead_channels(lenet(), channel_multiple=multiple)


def test_wrong_rule_is_found_out(harness):
    @keras.saving.register_keras_serializable(package="test")
    class Reverse(layers.Layer):
        def call(self, x):
            return keras.ops.flip(x, -1)

    @surgery.register_rule(Reverse)
    class WrongRule(surgery.Elementwise):
        """Claims that channels stay in their places."""

    x = keras.Input((4,))
    y = Reverse()(layers.Dense(6, activation="relu")(x))
    model = keras.Model(x, layers.Dense(2)(y))
    harness.randomise(model)
    kernel = model.layers[1].kernel.numpy()
    kernel[:, :3] = 0
    model.layers[1].kernel.assign(kernel)
    with pytest.raises(RuntimeError, match="not returned"):
        surgery.remove_dead_channels(model)


def test_training_the_smaller_model_leaves_the_given_one_usable():
    model = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5), layers.Dense(2)])
    compact, _ = surgery.remove_dead_channels(model)
    x, y = np.ones((8, 4), "float32"), np.ones((8, 2), "float32")
    for own in (compact, model):
        own.compile(loss="mse", optimizer="sgd")
        own.fit(x, y, verbose=0)
        assert np.isfinite(own.get_weights()[0]).all()


class InTraining(keras.Model):
    """A model that perhaps does more in training than a layer of it does."""

    def __init__(self, more=None):
        super().__init__()
        self.hidden, self.drop = layers.Dense(6), layers.Dropout(0.5)
        self.logits, self.more = layers.Dense(3), more

    def call(self, x, training=False):
        """The logits."""
        x = self.drop(self.hidden(x), training=training)
        if training and self.more:
            x = self.more(x)
        return self.logits(x)


MORE = {
    "an operation": lambda x: 2.0 * x,
    "no trace": lambda x: x * keras.random.uniform((len(x), 6)),
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_a_model_that_does_more_in_training_is_told(more):
    model = InTraining(more)
    model.build((None, 4))
    with pytest.warns(UserWarning, match="does something else in training, and the compact"):
        surgery.remove_dead_channels(model)


def test_layers_that_do_more_in_training_are_kept(recwarn):
    model = InTraining()
    model.build((None, 4))
    surgery.remove_dead_channels(model)
    assert not [w for w in recwarn if "in training" in str(w.message)]
