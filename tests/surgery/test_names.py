"""Inputs and outputs are the user's: names, structure, and what was compiled for them."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_sparse import ShrinkingTrainer, surgery
from keras_sparse.channels import DeadChannels
from keras_sparse.surgery.functional import functional


def head(name, units, last=None):
    x = keras.Input((6,))
    y = layers.Dense(6, activation="relu")(x)
    return keras.Model(x, layers.Dense(units, name=last)(y), name=name)


def trunk():
    x = keras.Input((5,), name="picture")
    return x, layers.Dense(6, activation="relu", name="a")(x)


def two_heads():
    x, y = trunk()
    return keras.Model(x, [head("age", 1)(y), head("sex", 2)(y)], name="people")


def in_structures():
    x, y = trunk()
    outputs = {"p": head("age", 1, last="age")(y), "q": [head("sex", 2, last="age")(y)]}
    return keras.Model({"picture": x}, outputs)


def two_outputs_of_one():
    i = keras.Input((6,))
    inner = keras.Model(i, [layers.Dense(2, name="heads")(i), layers.Dense(3)(i)], name="heads")
    x, y = trunk()
    return keras.Model(x, inner(y))


def layer_of_an_outputs_name():
    x, y = trunk()
    inner = keras.Sequential([layers.Dense(6, name="age"), layers.Dense(6)], name="inner")
    return keras.Model(x, [head("age", 1)(inner(y)), x])


def within_a_sequential():
    return keras.Sequential([keras.Input((5,), name="picture"), layers.Dense(6), head("age", 1)])


def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    x, y = trunk()
    i = keras.Input((6,))
    last = layers.Dense(2, dtype="float32")
    return keras.Model(x, keras.Model(i, last(i), name="logits")(y))


def masked():
    return keras.Sequential(
        [
            keras.Input((3,), name="words"),
            layers.Embedding(9, 6, mask_zero=True),
            layers.SimpleRNN(4),
            layers.Dropout(0.5),
            layers.Dense(2),
        ],
        name="reader",
    )


def described(tensors):
    return keras.tree.map_structure(lambda tensor: (tensor.shape, tensor.dtype), tensors)


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    "build",
    [
        two_heads,
        in_structures,
        two_outputs_of_one,
        layer_of_an_outputs_name,
        within_a_sequential,
        half_precision,
        masked,
    ],
)
def test_names_and_structures_stay(build, harness, policy, tmp_path):
    model = build()
    harness.randomise(model)
    harness.kill(model)
    compact, report = surgery.remove_dead_channels(model)
    assert report.parameters[0] > report.parameters[1] or build is masked
    compact.save(tmp_path / "smaller.keras")
    again, _ = surgery.remove_dead_channels(compact)
    for other in (compact, keras.saving.load_model(tmp_path / "smaller.keras"), again):
        assert (type(other), other.name) == (type(model), model.name)
        one, two = functional(model), functional(other)
        assert two.output_names == one.output_names
        assert [x._keras_history.operation.name for x in two.inputs] == [
            x._keras_history.operation.name for x in one.inputs
        ]
        assert described(two.input) == described(one.input)
        assert described(two.output) == described(one.output)


def test_what_a_training_step_needs_is_not_lost_in_a_chain(harness):
    """Dropout that is always on, in a model in a Sequential."""
    x = keras.Input((6,))
    inner = keras.Model(x, layers.Dropout(0.5, name="drop")(x, training=True))
    model = keras.Sequential([keras.Input((5,)), layers.Dense(6), inner, layers.Dense(2)])
    harness.randomise(model)
    compact, _ = surgery.remove_dead_channels(model, verify=False)
    calls = compact.get_layer("drop")._inbound_nodes
    assert all(node.arguments.kwargs["training"] is True for node in calls)


def test_a_loss_for_each_head_goes_on_after_a_cut(harness, tmp_path):
    """Also in a run that is taken up again after layers of nested models have lost channels."""
    model = two_heads()
    harness.randomise(model)

    def kill(layer, dead):
        kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
        kernel[:, :dead] = 0
        layer.set_weights([kernel, np.full(kernel.shape[1], -1.0)])

    kill(model.get_layer("a"), 2)
    kill(model.get_layer("age").layers[1], 3)
    losses = {"loss": {"age": "mse", "sex": "mae"}, "loss_weights": {"age": 1.0, "sex": 2.0}}
    model.compile("sgd", metrics={"sex": ["mse"]}, run_eagerly=True, **losses)
    x = harness.rng.standard_normal((8, 5))
    y = {"age": np.ones((8, 1)), "sex": np.ones((8, 2))}

    def trainer():
        dead = DeadChannels(epochs=1)
        return ShrinkingTrainer(model, dead, must_pay=False, min_dead=0.01, folder=tmp_path)

    trainer().fit(x, y, epochs=2, verbose=0)
    again = trainer()
    assert len(again.shrinks) == 1
    history = again.fit(x, y, epochs=3, verbose=0)
    assert again.model.output_names == ["age", "sex"]
    assert {"age_loss", "sex_loss", "sex_mse"} <= set(history.history)
    assert all(len(values) == 3 for values in history.history.values())
