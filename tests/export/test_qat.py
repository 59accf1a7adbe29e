"""Keras 3 models in tf_keras, and training as int8 in a separate process."""

import os
import types
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers

import export
from export.quantize import aware
from export.quantize.__main__ import main as quantize_main
from export.quantize.tf_keras_model import check_equal, to_tf_keras
from keras_sparse import data

pytestmark = pytest.mark.tensorflow


def residual():
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(8, 3, 2, use_bias=False)(x)
    x = layers.LeakyReLU(0.2)(layers.BatchNormalization()(x))
    y = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.Add()([y, x])
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.Concatenate()([layers.MaxPooling2D()(x), layers.AveragePooling2D(2)(x)])
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(x))


def shared_and_nested():
    left, right = keras.Input((6,), name="b"), keras.Input((6,), name="a")
    inner = keras.Input((6,))
    block = keras.Model(inner, layers.Dense(5)(layers.Dense(6, activation="tanh")(inner)))
    stack = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.Activation("silu")])
    shared = layers.Dense(6)
    x, y = block(shared(left)), block(shared(right))
    return keras.Model([left, right], [stack(x), layers.Subtract()([y, x])])


def same_names():
    """Layers of nested models, an outer layer, an input and an operation of equal names."""
    x = keras.Input((6,), name="same")
    y = x
    for name in ("a", "b"):
        parts = [layers.Dense(6, name="same"), layers.Dense(6, name="add")]
        y = keras.Sequential([keras.Input((6,)), *parts], name=name)(y)
    y = layers.Dense(6, name="outer")(keras.ops.relu(y + x))
    return keras.Model(x, keras.Sequential([layers.Dense(6, name="outer")], name="c")(y))


def sequential():
    return keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), layers.Dense(2)])


def dicts():
    """Keys that are not in the order of their names, also inside."""
    big, small = keras.Input((6,), name="b"), keras.Input((3,), name="a")
    inner = {"z": keras.Input((4,)), "y": keras.Input((5,))}
    parts = {"q": layers.Dense(3)(inner["z"]), "p": layers.Dense(2)(inner["y"])}
    nested = keras.Model(inner, parts)
    found = nested({"z": layers.Dense(4)(big), "y": layers.Dense(5)(small)})
    outputs = {"second": found["q"], "first": layers.Dense(4)(found["p"])}
    return keras.Model({"b": big, "a": small}, outputs)


@pytest.mark.parametrize("make_model", [residual, shared_and_nested, same_names, sequential, dicts])
def test_the_model_in_tf_keras_is_equal(make_model):
    model = make_model()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1, 0.5, weight.shape))
    inputs = [rng.normal(size=(7, *i.shape[1:])).astype("float32") for i in model.inputs]
    rebuilt = to_tf_keras(model)
    check_equal(model, rebuilt, inputs)
    assert len(rebuilt.weights) == len(model.weights)
    weights = rebuilt.get_weights()
    rebuilt.set_weights([1.1 * weight for weight in weights])
    with pytest.raises(ValueError, match="computes something else"):
        check_equal(model, rebuilt, inputs)


def test_operations_that_are_layers_in_tf_keras():
    inputs = keras.Input((4,))
    x = layers.Dense(4)(inputs)
    model = keras.Model(inputs, keras.ops.relu(x + inputs) * x)
    value = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    check_equal(model, to_tf_keras(model), [value])


class Own(layers.Layer):
    def call(self, inputs):
        return inputs


def operation():
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.ops.abs(inputs))


def plus_one():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2)(inputs) + 1.0)


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("make_model", "message"),
    [
        (lambda: keras.Sequential([keras.Input((4,)), Own(name="own")]), "'own' is a Own"),
        (operation, "'absolute.*' is no layer.*of keras.ops it knows relu"),
        (plus_one, "'add.*' is no layer.*Leave constants to the bias"),
        (lambda: keras.Sequential([keras.Input((4,)), Subclassed()]), "neither functional"),
        (
            lambda: keras.Sequential([keras.Input((4,)), layers.Activation("hard_silu")]),
            "cannot rebuild layer",
        ),
    ],
)
def test_what_tf_keras_does_not_know(make_model, message):
    with pytest.raises(ValueError, match=message):
        to_tf_keras(make_model())


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def untrained():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, use_bias=False)(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.5)(x))
    model = keras.Model(inputs, layers.Dense(10, name="logits")(layers.Flatten()(x)))
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_training_learns_and_the_file_computes_the_same(digits, tmp_path):
    model = untrained()
    before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    result = export.quantization_aware(
        model,
        tmp_path / "model.tflite",
        digits.x_train,
        digits.y_train,
        epochs=2,
        learning_rate=1e-2,
        input_output="int8",
        samples=digits.x_test,
        labels=digits.y_test,
    )
    assert result.keras_accuracy > 0.9
    assert result.accuracy > 0.9
    assert result.agreement > 0.98
    assert result.max_relative_error < 0.1
    assert {"CONV_2D", "FULLY_CONNECTED"} <= set(result.operators)
    assert "QUANTIZE" not in result.operators
    assert result.bytes < 0.6 * 4 * model.count_params()
    assert os.listdir(tmp_path) == ["model.tflite"]
    after = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
    assert all(map(np.array_equal, before, after))  # the user's model is not touched


@pytest.mark.slow
def test_a_layer_that_cannot_be_quantized(tmp_path, capfd):
    model = keras.Sequential([keras.Input((4,)), layers.Rescaling(2.0), layers.Dense(2)])
    x, y = np.ones((8, 4)), np.zeros((8, 2))
    with pytest.raises(export.ExportError, match=r"training of .* failed: .*rescaling"):
        export.quantization_aware(model, tmp_path / "m.tflite", x, y, loss="mse")
    assert not os.listdir(tmp_path)


X, Y = np.ones((8, 4)), np.zeros((8, 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": None}, "`loss` is needed"),
        ({"y": Y[:3]}, "`y` must hold one target for each of the 8"),
        ({"x": X[:, :3]}, "`x` must have the shapes"),
        ({"epochs": 0}, "`epochs` must be"),
        ({"batch_size": 0.5}, "`batch_size` must be"),
        ({"learning_rate": 0}, "`learning_rate` must be"),
        ({"learning_rate": np.inf}, "`learning_rate` must be above 0, and a finite number"),
        ({"seed": "s"}, "`seed` must be a number, and an integer"),
        ({"input_output": "int16"}, "`input_output` must be"),
        ({"labels": np.zeros(3, int)}, "give both"),
    ],
    ids=str,
)
def test_bad_arguments(options, message, tmp_path):
    arguments = {"x": X, "y": Y, "loss": "mse", **options}
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=message):
        export.quantization_aware(model, tmp_path / "m.tflite", **arguments)


def test_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ValueError, match=r"pip install 'keras-sparse\[qat\]'"):
        export.quantization_aware(model, tmp_path / "m.tflite", X, Y, loss="mse")


@pytest.mark.slow
def test_the_command_line(tmp_path, capsys):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    model.compile(loss="mse")
    model.save(tmp_path / "m.keras")
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=rng.normal(size=(64, 4)), y=rng.normal(size=(64, 2)))
    values = types.SimpleNamespace(
        data=str(tmp_path / "data.npz"),
        loss=None,
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        input_output="float32",
        seed=0,
        **{"import": None},
    )
    quantize_main(["", str(tmp_path / "m.keras"), str(tmp_path / "m.tflite")], values)
    told = capsys.readouterr().out
    assert "m.tflite, int8" in told
    assert "on 64 samples" in told
    with pytest.raises(SystemExit, match="give two files"):
        quantize_main(["", "m.keras"], values)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.arange(8),
            r"y of `\(x, y\)` must hold classes from 0 to 1\. Received: int64 from 0 to 7",
        ),
        (np.array(["a"] * 8), "must hold classes from 0 to 1"),
        (np.full(8, np.nan), "NaN"),
        (np.eye(2)[[0] * 8], "must hold the number of a class"),
        (np.zeros((8, 3, 3)), "does not fit the model|must hold the number"),
    ],
)
def test_targets_are_checked_before_the_process_starts(y, message, tmp_path, monkeypatch):
    monkeypatch.setattr(aware, "_train", lambda *_: pytest.fail("training"))
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match=message):
        export.quantization_aware(model, tmp_path / "m.tflite", X, y, loss=loss)
    assert not model.compiled


def test_targets_for_several_outputs(tmp_path, monkeypatch):
    monkeypatch.setattr(aware, "_train", mock.Mock(side_effect=export.ExportError("started")))
    x = keras.Input((4,))
    model = keras.Model(x, [layers.Dense(2)(x), layers.Dense(2)(x)])
    with pytest.raises(export.ExportError, match="started"):
        export.quantization_aware(model, tmp_path / "m.tflite", X, Y, loss="mse")
    with pytest.raises(ValueError, match="does not fit the model"):
        export.quantization_aware(model, tmp_path / "m.tflite", X, np.zeros((8, 7)), loss="mse")
