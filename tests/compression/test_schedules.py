"""When the channels go, and a compression that is killed at each of its stages."""

import errno
import itertools
import json
import os

import keras
import numpy as np
import pytest
from keras import layers

import keras_sparse
from keras_sparse import channels
from keras_sparse.compression import BudgetError, GroupNorm, Growing, Iterative, Random
from keras_sparse.compression.growing import pushing
from keras_sparse.compression.plan_files import PlanFolder
from tests.compression.blocks import Block
from tests.killing import AfterEpochs, KilledError
from tests.seconds_by_unit import SecondsByUnit


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 4)).astype("float32"), rng.normal(size=(40, 1)).astype("float32")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(16, name="first"),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    # Without graphs a training as short as these takes a tenth of the time.
    model.compile(optimizer="adam", loss="mse", metrics=["mae"], run_eagerly=True)
    return model


def compress(model, data, **arguments):
    keras.utils.set_random_seed(1)
    given = {
        "target": {"macs": 0.25}, "importance": GroupNorm(), "allocation": "uniform",
        "batch_size": 20, "learning_rate": 0.01, "verbose": 0,
    }  # fmt: skip
    return keras_sparse.compress(model, data, **{**given, **arguments})


class Counted(GroupNorm):
    """Counts how often it was asked."""

    calls = 0

    def scores(self, model, groups, data=None):
        self.calls += 1
        return super().scores(model, groups, data)


@pytest.mark.parametrize(
    ("schedule", "epochs", "cuts"),
    [("one_shot", 2, 1), (Iterative(cuts=2), 3, 2), (Growing(), 2, 1)],
    ids=str,
)
def test_killed_after_each_stage_it_comes_to_the_same_bits(
    tmp_path, monkeypatch, model, data, schedule, epochs, cuts
):
    arguments = {"schedule": schedule, "epochs": epochs, "importance": Counted()}
    before = model.get_weights()
    whole = compress(model, data, **arguments)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    importance = Counted()
    arguments.update(folder=tmp_path, importance=importance)
    with monkeypatch.context() as patch:
        patch.setattr(PlanFolder, "save_plan", lambda *_: _raise())
        with pytest.raises(KilledError):
            compress(model, data, **arguments)
    for done in itertools.count():
        try:
            again = compress(model, data, **arguments, callbacks=[AfterEpochs(min(done, 1))])
            break
        except KilledError:
            continue
    assert done == epochs
    assert importance.calls == cuts
    assert again.history == whole.history
    assert len(again.history["mae"]) == epochs
    assert again.costs == whole.costs
    assert str(again.plan) == str(whole.plan)
    assert again.model.layers[1].units == 4
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def _raise():
    raise KilledError


@pytest.mark.parametrize(("schedule", "epochs"), [("one_shot", 4), (Iterative(2, 2), 5)], ids=str)
def test_a_training_that_ended_early_has_ended(tmp_path, model, data, schedule, epochs):
    def run(**arguments):
        # Nothing is an improvement, so that the first epoch is the best and the second the last.
        stops = keras.callbacks.EarlyStopping(
            "mae", min_delta=1e9, patience=1, restore_best_weights=True
        )
        given = {"schedule": schedule, "epochs": epochs, "callbacks": [stops], **arguments}
        return compress(model, data, **given)

    whole, first, again = run(), run(folder=tmp_path), run(folder=tmp_path)
    assert len(whole.history["mae"]) < epochs
    assert whole.history == first.history == again.history
    for a, b, c in zip(*(x.model.get_weights() for x in (whole, first, again)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_checkpoints_of_earlier_versions_go_on(tmp_path, model, data):
    added = ("loss", "loss_weights", "optimizer")
    arguments = {"epochs": 2, "folder": tmp_path}
    with pytest.raises(KilledError):
        compress(model, data, **arguments, callbacks=[AfterEpochs(1)])
    recovery = tmp_path / "recovery"
    state = json.loads((recovery / "state.json").read_text())
    for name in added:
        del state["settings"][name]
    (recovery / "state.json").write_text(json.dumps(state))
    for name in ("plan", "scores"):
        with np.load(recovery / f"{name}.npz") as file:
            arrays = dict(file)
        facts = json.loads(str(arrays.pop("facts")))
        facts["settings"] = {n: v for n, v in facts["settings"].items() if n not in added}
        np.savez(recovery / f"{name}.npz", **arrays, facts=json.dumps(facts))
    assert len(compress(model, data, **arguments).history["mae"]) == 2


def test_on_a_full_disk_files_are_whole_and_the_same_call_goes_on(
    tmp_path, monkeypatch, model, data
):
    whole = compress(model, data, epochs=2)
    replace, room, stopped_at = os.replace, [], []

    def replace_in(source, path):
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        room.pop()
        replace(source, path)

    monkeypatch.setattr("keras_sparse.files.os.replace", replace_in)
    for _ in range(3):
        room[:] = [True, True]
        try:
            again = compress(model, data, epochs=2, folder=tmp_path)
        except OSError as error:
            stopped_at.append(os.path.basename(error.filename))
        assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
    assert stopped_at == ["epoch_00001.weights.h5", "epoch_00002.weights.h5"]
    assert again.history == whole.history
    for a, b in zip(whole.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_folder_of_another_compression_is_refused(tmp_path, model, data):
    arguments = {"folder": tmp_path, "epochs": 1}
    compress(model, data, **arguments)
    for change, message in (
        ({"target": {"macs": 0.3}}, "`folder` holds .*target={'macs': 0.25}, not .*0.3"),
        ({"importance": GroupNorm(1)}, r"`folder` holds .*GroupNorm\(order=2\)"),
        ({"schedule": "growing", "epochs": 2}, "`folder` holds .*schedule='OneShot"),
        ({"learning_rate": 0.02}, "cannot be resumed: .*learning_rate=0.01, not"),
        ({"epochs": 2}, "cannot be resumed: .*epochs=1, not"),
    ):
        with pytest.raises(ValueError, match=message):
            compress(model, data, **{**arguments, **change})


def test_a_model_that_was_compiled_in_another_way_is_refused(tmp_path, data):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(16), layers.Dense(1)])

    def run(optimizer, loss="mse", **compiled):
        model.compile(optimizer, loss, run_eagerly=True, **compiled)
        return compress(model, data, folder=tmp_path, epochs=1)

    sgd = keras.optimizers.SGD
    run(sgd(momentum=0.9))
    # Keras numbers the names of optimizers. Their rate is not that of the training.
    run(sgd(0.5, momentum=0.9))
    for optimizer, loss, compiled, message in (
        (sgd(momentum=0.8), "mse", {}, r"'momentum': 0\.9.*not .*'momentum': 0\.8"),
        (sgd(momentum=0.9, weight_decay=0.1), "mse", {}, "'weight_decay': None.*not .*: 0.1"),
        ("adam", "mse", {}, "'class_name': 'SGD'.*not .*'class_name': 'Adam'"),
        (sgd(momentum=0.9), keras.losses.MeanAbsoluteError(), {}, "loss='mse', not .*MeanAbs"),
        (sgd(momentum=0.9), "mse", {"loss_weights": [2.0]}, "loss_weights=None, not .*=.2.0"),
    ):
        with pytest.raises(ValueError, match=f"`folder` holds a compression.*{message}"):
            run(optimizer, loss, **compiled)


class Scaled(GroupNorm):
    """An importance with an argument that its config lacks."""

    def __init__(self, scale):
        super().__init__()


class Weighed(channels.IncomingNorm):
    """A criterion with an argument that its config lacks."""

    def __init__(self, weight):
        super().__init__()


def test_importances_are_told_apart(tmp_path, model, data):
    arguments = {"folder": tmp_path, "epochs": 0}
    compress(model, data, importance=channels.IncomingNorm(1e-3), **arguments)
    for other in (channels.IncomingNorm(1e-4), channels.LargestActivation()):
        with pytest.raises(ValueError, match=r"`folder` holds .*IncomingNorm\(threshold=0\.001\)"):
            compress(model, data, importance=other, **arguments)
    for other, name in ((Scaled(2.0), "scale"), (Weighed(2.0), "weight")):
        told = rf"does not return: \['{name}'\].*of type {type(other).__name__}"
        with pytest.raises(ValueError, match=told):
            compress(model, data, importance=other, **arguments)
        assert compress(model, data, importance=other, epochs=0)


def test_a_budget_that_cannot_be_met_costs_no_scores(tmp_path, model, data):
    importance = Counted()
    with pytest.raises(BudgetError):
        compress(model, data, target={"macs": 1e-6}, folder=tmp_path, importance=importance)
    assert not importance.calls
    assert not list(tmp_path.iterdir())


def test_a_last_cut_that_cannot_be_made_is_told_before_the_first(model, data):
    told = []
    for schedule in ("one_shot", "iterative"):
        with pytest.raises(BudgetError) as error:
            compress(model, data, target={"macs": 1e-3}, schedule=schedule, epochs=4)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_files_of_a_plan(tmp_path, model, data):
    arguments = {"folder": tmp_path, "epochs": 0}
    compress(model, data, **arguments)
    weights = model.get_weights()
    model.layers[0].bias.assign(np.ones(16))
    with pytest.raises(ValueError, match=r"`folder` holds .*model="):
        compress(model, data, **arguments)
    model.set_weights(weights)
    compress(model, data, **arguments)
    (tmp_path / "recovery" / "plan.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"`folder` has a plan\.npz that cannot be read"):
        compress(model, data, **arguments)


def test_a_plan_in_place_of_a_target(model, data):
    plan = keras_sparse.plan(model, target={"macs": 0.5}, importance=GroupNorm())
    result = keras_sparse.compress(model, data, plan=plan, epochs=0)
    assert result.plan is plan
    assert result.model.layers[1].units == 8
    for arguments, message in (
        ({"plan": plan, "target": {"macs": 0.5}}, "either `target`.*or `plan`"),
        ({}, "either `target`.*or `plan`"),
        ({"plan": {}}, "`plan` must be a `Plan`"),
        ({"plan": plan, "exclude": "first"}, r"`plan` was made already: give \['exclude'\]"),
        ({"plan": plan, "schedule": "iterative"}, "`plan` is for one cut"),
    ):
        with pytest.raises(ValueError, match=message):
            keras_sparse.compress(model, data, **arguments)


@pytest.mark.parametrize("nested", [False, True])
def test_the_report_of_several_cuts_is_of_the_given_model(data, nested):
    hidden = [layers.Dense(16, name="last" if nested else "first"), layers.ReLU()]
    if nested:
        hidden = [keras.Sequential([keras.Input((4,)), *hidden], name="inner")]
    model = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1, name="last")])
    model.compile("sgd", "mse", run_eagerly=True)
    norms = np.arange(1.0, 17.0, dtype="float32")
    (kernel,) = (weight for weight in model.weights if weight.shape == (4, 16))
    kernel.assign(np.tile(norms, (4, 1)))
    report = compress(model, data, schedule=Iterative(2), epochs=2, learning_rate=1e-9).report
    name = "inner/last" if nested else "first"
    assert report.channels == {name: (16, 4), "last": (1, 1)}
    assert report.layers[name].kept.tolist() == [12, 13, 14, 15]
    assert (report.parameters, report.macs) == ((97, 25), (80, 20))
    assert [group.channels for group in report.groups] == [(16, 4), (1, 1)]


def block():
    return Block(name="block")


def inner():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(8, name="same"), layers.Dense(8, name="inside")],
        name="block",
    )


@pytest.mark.parametrize("make", [block, inner])
@pytest.mark.parametrize("excluded", ["same", "block/same"])
def test_an_excluded_layer_stays_in_all_cuts(data, make, excluded):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1)(layers.Dense(8, name="same")(make()(x))))
    model.compile("sgd", "mse", run_eagerly=True)
    report = compress(
        model, data, target={"macs": 0.5}, exclude=excluded, schedule=Iterative(3), epochs=3,
        importance=Random(0),
    ).report  # fmt: skip
    named = {"block/same", "block/inside", "same"}
    widths = {name: width for name, width in report.channels.items() if name in named}
    assert set(widths) == {layer for group in report.groups for layer in group.layers} & named
    assert {name for name, (_, after) in widths.items() if after == 8} == {excluded}
    assert widths == {
        layer: group.channels for group in report.groups for layer in group.layers if layer in named
    }


@pytest.mark.parametrize(("schedule", "epochs"), [("one_shot", 0), (Iterative(2), 2)], ids=str)
def test_a_latency_is_relative_to_the_model_of_the_table(model, data, schedule, epochs):
    result = compress(
        model, data, target={"latency": "5 s"}, latency={"latency": SecondsByUnit()},
        schedule=schedule, epochs=epochs,
    )  # fmt: skip
    assert result.model.get_layer("first").units == 4
    assert result.costs["latency"] == (5.0, 17.0, pytest.approx(5.0))


class SecondsByName:
    """Time of a device that takes a second for each unit of two layers."""

    def layer_seconds(self, layer, shapes):
        return float(shapes["kernel"][-1]) if layer in ("block/same", "block/inside") else 0.0

    def steps(self, layer):
        return {"block/same": [2, 8], "block/inside": [4, 8]}.get(layer, [])


@pytest.mark.parametrize("make", [block, inner])
def test_a_latency_is_of_the_layers_of_the_given_model_in_all_cuts(data, make):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(1)(layers.Dense(8, name="same")(make()(x))))
    model.compile("sgd", "mse", run_eagerly=True)
    result = compress(
        model, data, target={"latency": "6 s"}, latency={"latency": SecondsByName()},
        allocation="uniform_steps", schedule=Iterative(2), epochs=2,
    )  # fmt: skip
    widths = [result.report.channels[f"block/{name}"] for name in ("same", "inside")]
    assert widths == [(8, 2), (8, 4)]
    assert result.report.channels["same"][1] < 8
    assert result.costs["latency"] == (6.0, 16.0, pytest.approx(6.0))


@pytest.mark.parametrize("batches", [None, 5])
def test_pushed_weights_vanish_and_the_others_learn(batches):
    first, second = (keras.Variable(np.ones(shape, "float32")) for shape in ((2, 3), (3,)))
    optimizer = pushing(
        keras.optimizers.SGD(0.1, gradient_accumulation_steps=batches),
        {first.path: [(1, np.array([True, False, False])), (0, np.array([False, True]))]},
        steps=50,
    )
    gradients = [keras.ops.full(shape, 0.01) for shape in ((2, 3), (3,))]
    for _ in range(50):
        optimizer.apply(gradients, [first, second])
    first, second = map(keras.ops.convert_to_numpy, (first, second))
    kept = 1 - 50 // (batches or 1) * 0.1 * 0.01
    np.testing.assert_allclose(first[0, 1:], kept, rtol=1e-5)
    np.testing.assert_allclose(second, kept, rtol=1e-5)
    shrunk = np.array([first[0, 0], *first[1]])
    assert (np.abs(shrunk) < 0.01).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "soon"}, "`schedule` must be"),
        ({"schedule": "iterative", "epochs": 3}, "`epochs` must be above the 3"),
        ({"schedule": Growing(4), "epochs": 4}, "`epochs` must leave epochs"),
        ({"schedule": "growing", "epochs": 1}, "`epochs` must leave epochs"),
    ],
)
def test_schedules_that_do_not_fit(model, data, arguments, message):
    with pytest.raises(ValueError, match=message):
        compress(model, data, **arguments)
    with pytest.raises(ValueError, match="`cuts`"):
        Iterative(cuts=1)
    with pytest.raises(ValueError, match="`epochs`"):
        Growing(epochs=0)
