"""`Plan.apply` and the state of the optimizer."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import surgery
from keras_sparse.compression import GroupNorm

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(32, 6)).astype("float32"), RNG.normal(size=(32, 1)).astype("float32")


def sequential():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(1)]
    )


def functional():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(1)(layers.Dense(8, "relu")(inputs)))


def nested():
    """A nested and an outer layer of the same name and shape."""
    inner = keras.Sequential(
        [keras.Input((6,)), layers.Dense(6, name="same"), layers.ReLU()], name="inner"
    )
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(1)(layers.Dense(6, name="same")(inner(inputs))))


@pytest.mark.parametrize("make", [sequential, functional, nested])
def test_the_state_of_the_optimizer_goes_on(make):
    model = make()
    model.compile("adam", "mse", run_eagerly=True)
    model.fit(*DATA, verbose=0)
    plan = keras_sparse.plan(model, DATA, target={"parameters": 0.6}, importance=GroupNorm())
    compact, report = plan.apply(model)
    # Marks each entry with a number of its own.
    for i, slot in enumerate(model.optimizer.variables[2:]):
        slot.assign(np.arange(np.prod(slot.shape)).reshape(slot.shape) + 1000 * i)
    old = {slot.path.split("/")[-1]: np.array(slot) for slot in model.optimizer.variables}
    sources = {variable.path: variable for variable in model.variables}
    sliced = surgery.slice_optimizer(model.optimizer, report, compact)
    assert int(sliced.iterations) == 1
    new = {slot.path.split("/")[-1]: np.array(slot) for slot in sliced.variables}
    for variable in compact.trainable_variables:
        part = report.slices[variable.path]
        assert part.shape == tuple(sources[part.source].shape)
        for kind in ("momentum", "velocity"):
            found = new[f"{variable.path.replace('/', '_')}_{kind}"]
            whole = old[f"{part.source.replace('/', '_')}_{kind}"]
            np.testing.assert_array_equal(found, part(whole))
    assert len({part.source for part in report.slices.values()}) == len(report.slices)
    compact.compile(sliced, "mse", run_eagerly=True)
    compact.fit(*DATA, verbose=0)
    assert int(compact.optimizer.iterations) == 2
