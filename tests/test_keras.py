"""What `keras_sparse._keras` expects of Keras: a new version that breaks it is seen here first."""

import pathlib
import re

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_sparse
from keras_sparse import _keras
from tests.on_keras import KERAS_OPTIMIZERS


def built(optimizer):
    shapes = {"kernel": (3, 4), "bias": (4,)}
    variables = [keras.Variable(np.ones(s, "float32"), name=n) for n, s in shapes.items()]
    optimizer.build(variables)
    return optimizer, variables


@pytest.mark.parametrize("name", KERAS_OPTIMIZERS)
def test_slots_are_all_of_the_state_that_belongs_to_variables(name):
    optimizer, variables = built(KERAS_OPTIMIZERS[name]())
    slots = [v for found in _keras.slots(optimizer).values() for v in found if v is not None]
    rest = {id(v) for v in optimizer.variables} - {id(v) for v in slots}
    assert all(v.shape == () for v in optimizer.variables if id(v) in rest)
    assert [_keras.index_of(optimizer, v) for v in variables] == [0, 1]
    assert _keras.variables_of(optimizer) == variables


def test_steps_and_gradients_are_counted_apart():
    optimizer, variables = built(keras.optimizers.SGD(0.5, gradient_accumulation_steps=2))
    for _ in range(3):
        optimizer.apply([ops.ones(v.shape) for v in variables])
    assert int(_keras.batches(optimizer)) == 3
    assert int(optimizer.iterations) == 1
    assert float(_keras.learning_rate(optimizer)) == 0.5


class Bare(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule without a config."""

    def __call__(self, step):
        return 0.5


def test_a_config_needs_none_of_the_schedule():
    schedule = Bare()
    optimizer = keras_sparse.RigL(schedule, inner=keras.optimizers.SGD(schedule, momentum=0.5))
    config = _keras.config_without_rate(optimizer)
    assert "learning_rate" not in config
    assert _keras.learning_rate(optimizer) is _keras.learning_rate(optimizer.inner) is schedule
    again = keras_sparse.RigL.from_config({**config, "learning_rate": schedule})
    assert _keras.learning_rate(again) is schedule
    assert again.inner.momentum == 0.5


def test_what_a_model_was_compiled_with():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    given = {"loss": "mse", "loss_weights": [1.0], "metrics": [keras.metrics.Mean(), ops.mean]}
    model.compile("sgd", **given)
    found = _keras.compile_config(model)
    assert all(found[name] is value for name, value in given.items())
    assert {"weighted_metrics", "run_eagerly", "jit_compile"} < set(found)


def test_shared_steps_are_those_of_the_other():
    outer, _ = built(keras.optimizers.SGD(0.5))
    inner = keras.optimizers.Adam(0.1)
    _keras.share_steps(inner, outer)
    outer.iterations.assign(7)
    assert int(inner.iterations) == 7
    assert float(inner.learning_rate) == 0.5
    before = len(outer.variables)
    _keras.adopt_variables(outer, [keras.Variable(1.0)])
    assert len(outer.variables) == before + 1


def test_averages_and_decay():
    optimizer, variables = built(keras.optimizers.SGD(1.0, use_ema=True, weight_decay=0.25))
    assert [v.shape for v in _keras.averages_of(optimizer)] == [v.shape for v in variables]
    _keras.decay_weights(optimizer, variables)
    np.testing.assert_allclose(variables[0], 0.75)
    assert _keras.layout_of(variables[0]) is None


def test_a_step_without_variables_is_nadams_own():
    optimizer, _ = built(keras.optimizers.Nadam(0.1))
    product = next(v for v in optimizer.variables if float(np.ravel(v)[0]) == 1.0)
    _keras.step_without_variables(optimizer, ops.convert_to_tensor(0.1))
    assert 0.4 < float(product) < 0.5


class Looks(_keras.FinalGradients, keras.optimizers.SGD):
    seen = rates = ()

    def _before_step(self, gradients, variables):
        self.seen = [float(ops.convert_to_numpy(g).max()) for g in gradients]

    def _before_variables(self, learning_rate):
        self.rates = (*self.rates, float(learning_rate))


def test_final_gradients_are_clipped_and_seen_before_the_step():
    optimizer, variables = built(Looks(0.5, clipvalue=0.25))
    optimizer.apply([ops.ones(v.shape) for v in variables])
    assert optimizer.seen == [0.25, 0.25]
    assert optimizer.rates == (0.5,)


def test_a_graph_is_read():
    inputs = keras.Input((6,), name="in")
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4, name="dense")])
    outputs = layers.ReLU(name="relu")(inner(inputs))
    model = keras.Model({"in": inputs}, [outputs])
    assert {layer.name for layer in _keras.flatten_layers(model)} >= {"dense", "relu"}
    assert model not in _keras.flatten_layers(model, include_self=False)
    assert isinstance(_keras.functional_of(inner), keras.Function)
    order = [node.operation.name for nodes in _keras.nodes_by_depth(model) for node in nodes]
    assert order == ["in", inner.name, "relu"]
    assert _keras.origin(outputs).operation.name == "relu"
    assert _keras.origin(np.ones(3)) is None
    node = _keras.node_of(outputs)
    assert node.operation.name == "relu"
    assert node in _keras.inbound_nodes(node.operation)
    assert node in _keras.outbound_nodes(inner)
    assert list(_keras.inputs_structure(model)) == ["in"]
    assert len(_keras.outputs_structure(model)) == 1


def test_a_mask_travels_with_a_tensor():
    inputs = keras.Input((6,))
    assert _keras.mask_of(inputs) is None
    assert _keras.mask_of(layers.Embedding(5, 2, mask_zero=True)(inputs)) is not None


def test_nobody_else_reads_private_parts():
    """Those of Keras' layers, models and optimizers, by the names that `_keras` uses."""
    folder = pathlib.Path(keras_sparse.__file__).parent
    own = (folder / "_keras.py").read_text(encoding="utf-8")
    names = set(re.findall(r"\b\w+\.(_[a-z]\w+)", own)) - {"_before_step", "_before_variables"}
    pattern = re.compile(rf"\w\.({'|'.join(names)})\b(?!\s*=)")
    found = {
        f"{path.name}: {match.group()}"
        for path in folder.rglob("*.py")
        if path.name not in ("_keras.py", "copying.py")
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    }
    assert not found
