"""`Plan.apply` and the state of the optimizer."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import surgery
from keras_sparse.compression import GroupNorm
from keras_sparse.compression.reports import renamed
from keras_sparse.surgery.groups import GroupReport
from keras_sparse.surgery.report import LayerReport, Report

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


def test_the_report_has_the_names_of_the_given_model():
    model = nested()
    chosen = keras_sparse.plan(
        model, target={"parameters": 0.8}, importance=GroupNorm(), exclude="same"
    )
    compact, report = chosen.apply(model)
    (width,) = chosen.widths
    last = model.layers[-1].name
    assert report.channels == {"inner/same": (6, width), "same": (6, 6), last: (1, 1)}
    assert [group.layers for group in report.groups] == [("inner/same",), ("same",), (last,)]
    assert report.order[0] == "inner/same"
    assert "same_1" not in report.order
    assert all(layer.name == name for name, layer in report.layers.items())
    assert [layer.units for layer in compact.layers if isinstance(layer, layers.Dense)] == [
        width, 6, 1
    ]  # fmt: skip


def test_reasons_and_notes_get_the_names_of_the_given_model():
    dead = {0: (0.0, "same_1 reads it"), 1: (0.0, "the input of out: mask of same_1")}
    layer = LayerReport("same", "Dense", (2, 2), (6, 6), (6, 6), np.arange(2), dead)
    group = GroupReport(("same", "block_1/query"), ("sum_1",), (2, 2))
    order = ("same", "block_1", "sum_1", "same_1")
    notes = {"same_1": ["2 channels with zero weights stay (same_1: 1, same: 1): it has no rule"]}
    report = Report({"same": layer}, {}, [group], order, (6, 6), (6, 6), notes)
    names = {"same": "inner/same", "same_1": "same", "block_1": "inner/block", "sum_1": "inner/sum"}
    found = renamed(report, names)
    assert found.layers["inner/same"].name == "inner/same"
    assert [reason for _, reason in found.layers["inner/same"].dead.values()] == [
        "same reads it", "the input of out: mask of same"
    ]  # fmt: skip
    assert found.groups == [
        GroupReport(("inner/same", "inner/block/query"), ("inner/sum",), (2, 2))
    ]
    assert found.order == ("inner/same", "inner/block", "inner/sum", "same")
    assert found.notes == {
        "same": ["2 channels with zero weights stay (same: 1, same: 1): it has no rule"]
    }
