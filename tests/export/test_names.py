import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

import export
from export.names import input_names, output_names
from keras_sparse import surgery


def test_inputs_have_the_users_names():
    def names(structure):
        return [name for name, _ in input_names(structure)]

    left, right, made_up = (
        keras.Input((1,), name="l"),
        keras.Input((1,), name="r"),
        keras.Input((1,)),
    )
    assert names([left, right]) == ["l", "r"]
    assert names([left, made_up]) == ["l", "input_1"]
    assert names({"b": left, "a": made_up}) == ["a", "b"]
    assert names({"b": left, "a": [right]}) == ["r", "l"]
    assert names([keras.Input((1,), name="the in-put"), right]) == ["input_0", "r"]
    assert names([keras.Input((1,), name=name) for name in ("class", "self", "Class")]) == [
        "input_0",
        "input_1",
        "Class",
    ]
    # Two that would be equal.
    assert names([made_up, keras.Input((1,), name="input_0")]) == ["input_0", "input_1"]


def test_outputs_have_the_users_names():
    inputs = keras.Input((3,), name="x")

    def names(*outputs):
        return output_names(keras.Model(inputs, list(outputs)), len(outputs))

    nested = keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="age")
    assert names(nested(inputs), layers.Dense(1, name="sex")(inputs)) == ["age", "sex"]
    assert names(layers.Dense(1)(inputs), ops.relu(inputs)) == ["output_0", "output_1"]
    assert names(inputs, layers.Dense(1, name="head 1")(inputs)) == ["output_0", "output_1"]
    assert names(keras.Sequential([layers.Dense(2)])(inputs)) == ["output_0"]
    shared = layers.Dense(3, name="shared")
    assert names(shared(inputs), shared(ops.relu(inputs))) == ["output_0", "output_1"]
    assert names(inputs, layers.Dense(1, name="output_0")(inputs)) == ["output_0", "output_1"]


@pytest.mark.tensorflow
def test_signatures_of_the_loaded_and_of_the_smaller_model_are_the_same(tmp_path):
    first, second = keras.Input((4,)), keras.Input((4,), name="second")
    hidden = layers.Dense(6, activation="relu")
    x = hidden(layers.Add()([first, second]))
    model = keras.Model([first, second], [layers.Dense(2, name="class")(x), layers.Dense(2)(x)])
    kernel, bias = hidden.get_weights()
    hidden.set_weights([kernel * [1, 0, 1, 0, 1, 1], bias])
    model.save(tmp_path / "model.keras")
    compact, _ = surgery.remove_dead_channels(model)
    assert compact.count_params() < model.count_params()
    path = tmp_path / "model.tflite"
    samples = {"second": np.ones((2, 4)), "input_0": np.zeros((2, 4))}
    for each in (model, keras.saving.load_model(tmp_path / "model.keras"), compact):
        result = export.convert(each, path, samples=samples)
        signature = Interpreter(str(path)).get_signature_list()["serving_default"]
        assert signature["inputs"] == ["input_0", "second"]
        assert signature["outputs"] == ["class", "output_1"]
        assert set(result.output_errors) == {"class", "output_1"}
