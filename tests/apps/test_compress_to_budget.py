"""apps.compress with --target, in this process: a small network of digits and its file of data."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from unittest import mock

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

from apps import program
from apps.compression import baselines, firmware, inputs, latency, options, report, run
from export import ExportError
from export.micro import measure
from export.report import read_runs
from keras_sparse.compression import budget
from keras_sparse.compression.planning import measured_costs
from keras_sparse.compression.schedules import as_schedule
from tests.in_process import run_program


def network(**last):
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="first"),
            layers.Dense(12, activation="relu", name="second"),
            layers.Dense(10, name="last", **last),
        ]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with models and data; nothing writes there."""
    path = tmp_path_factory.mktemp("files")
    images, labels = load_digits(return_X_y=True)
    x = images.reshape(-1, 8, 8, 1)[:600].astype("float32") / 16
    y = labels[:600]
    keras.utils.set_random_seed(0)
    model = network()
    model.compile(
        optimizer=keras.optimizers.Adam(0.02),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(x, y, epochs=2, verbose=0)
    model.save(path / "m.keras")
    network(activation="softmax").save(path / "plain.keras")
    np.savez(path / "d.npz", x=x, y=y)
    np.savez(path / "split.npz", x_train=x[:500], y_train=y[:500], x_test=x[500:], y_test=y[500:])
    np.savez(path / "lonely.npz", x_train=x[:9], y_train=y[:9], x_test=x[:9])
    np.savez(path / "small.npz", x=x[:9, 1:], y=y[:9])
    np.savez(path / "short.npz", x=x[:9], y=y[:8])
    np.savez(path / "eleven.npz", x=x[:11], y=np.arange(11))
    np.savez(path / "columns.npz", x=x[:9], y=np.zeros((9, 4)))
    np.save(path / "x.npy", x[:9])
    (path / "saved").mkdir()
    (path / "saved" / "saved_model.pb").touch()
    (path / "used").mkdir()
    shutil.copy(path / "m.keras", path / "used" / "compact.keras")
    (path / "used" / "link.keras").symlink_to("compact.keras")
    shutil.copy(path / "d.npz", path / "plan.json")
    (path / "trained").mkdir()
    (path / "trained" / "history.csv").touch()
    return path


@pytest.fixture
def compress(folder, tmp_path, monkeypatch, capsys):
    """The program on files of the folder; `(status, stdout, stderr)`."""
    monkeypatch.chdir(folder)

    def call(*arguments, **values):
        given = {"model": "m.keras", "data": "d.npz", "target": "macs=0.5", **values}
        given.setdefault("out", tmp_path / "run")
        flags = [f"--{name}={value}" for name, value in given.items() if value is not None]
        status = run_program("apps.compress", *flags, *arguments)
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def loaded(folder):
    """The trained model."""
    return inputs.load_compiled(folder / "m.keras")[0]


QUICK = ("--importance=norm", "--allocation=uniform")
WHOLE = {"target": "macs=0.5,parameters=0.9", "data": "split.npz", "epochs": 2, "batch_size": 128}


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """The folder that a run left, from start to end."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with contextlib.chdir(folder):
        flags = [f"--{name}={value}" for name, value in WHOLE.items()]
        quick = (*QUICK, "--quantize=int8")
        status = run_program("apps.compress", "--model=m.keras", f"--out={out}", *flags, *quick)
    assert status is None
    return out


@pytest.mark.tensorflow
def test_a_whole_run(whole, folder):
    files = {f"{n}{e}" for n in ("dense", "compact") for e in (".keras", ".tflite", "-int8.tflite")}
    pictures = {"accuracy.png", "channels.png", *(["report.html"] if find_spec("jinja2") else [])}
    assert set(os.listdir(whole)) == files | pictures | {
        *("plan.json", "report.json", "report.md", "history.csv", "settings.json", "recovery")
    }
    told = json.loads((whole / "report.json").read_text())
    dense, compact = told["dense"], told["compact"]
    assert list(dense) == [
        *("accuracy", "loss", "parameters", "macs"),
        *("float32 file, bytes", "float32 file, latency, fastest ms"),
        *("int8 file, accuracy", "int8 file, bytes", "int8 file, latency, fastest ms"),
    ]
    assert compact["macs"] <= 0.5 * dense["macs"]
    assert compact["parameters"] <= 0.9 * dense["parameters"]
    with np.load(folder / "split.npz") as data:
        x, y = data["x_test"], data["y_test"]
    for name in ("dense", "compact"):
        model = keras.saving.load_model(whole / f"{name}.keras")
        accuracy = np.mean(keras.ops.convert_to_numpy(model(x)).argmax(-1) == y)
        assert told[name]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert told[name]["int8 file, bytes"] == (whole / f"{name}-int8.tflite").stat().st_size
    if find_spec("jinja2"):
        page = (whole / "report.html").read_text()
        counts = [f">{own[n]:,}<" for own in (dense, compact) for n in ("parameters", "macs")]
        assert all(text in page for text in (*counts, f">{compact['accuracy']:.4f}<"))
        assert "<script" not in page
    [run] = read_runs([whole])
    assert [(row.network, row.kind) for row in run.rows] == [
        (name, kind) for name in ("dense", "compact") for kind in ("float32", "int8")
    ]
    assert run.rows[2].accuracy == compact["accuracy"]
    text = (whole / "report.md").read_text()
    assert "| | dense | compact | ratio |" in text
    assert f"| parameters | {dense['parameters']:,} | {compact['parameters']:,} |" in text
    assert "macs: at most " in text


def test_baselines_are_trained_beside_it(compress, tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(report, "deliver", lambda *arguments, **_: reports.append(arguments))
    status, _, err = compress("--baselines", *QUICK, data="split.npz", epochs=1)
    assert status is None, err
    (_, result, _, _, facts) = reports[0]
    found = facts["baselines"]
    assert set(found) == {baselines.SCRATCH, baselines.NARROW, baselines.RANDOM}
    assert len({row["macs"] for row in found.values()}) == 1  # all are uniform here
    scratch = keras.saving.load_model(tmp_path / "run" / "scratch.keras")
    assert scratch.count_params() == result.model.count_params()
    kernels = [model.get_layer("last").kernel.numpy() for model in (scratch, result.model)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "scratch", "told"),
    [
        ("accuracy", 0.80, False),
        ("accuracy", 0.88, True),
        ("accuracy", 0.95, True),
        ("loss", 0.95, False),
        ("loss", 0.85, True),
    ],
)
def test_a_shape_that_is_as_good_from_scratch_is_told(name, scratch, told):
    rows = {baselines.SCRATCH: {name: scratch, "macs": 5}}
    facts = {"compact": {name: 0.9, "macs": 5}, "held_out": 400, "baselines": rows}
    facts["costs"] = {"macs": [6, 10, 5]}
    lines = report._about_baselines(facts)
    assert f"| {baselines.SCRATCH} | {scratch:.4f} | 5 |" in lines
    assert ("It is in scratch.keras." in lines[-2]) == told


class Table:
    """Times of the layers by their widths; whole models take a millisecond for each 1000 MACs."""

    def layer_seconds(self, layer, shapes):
        return 1e-6 * np.prod(shapes["kernel"]) if "kernel" in shapes else 0.0

    def steps(self, layer):
        return [4, 8, 12, 16]

    def models_seconds(self, models):
        return [1e-6 * measured_costs(model)["macs"] for model in models]


def test_baselines_have_every_cost_of_the_target(compress, tmp_path, monkeypatch):
    reports = []
    monkeypatch.setattr(report, "deliver", lambda *arguments, **_: reports.append(arguments))
    monkeypatch.setattr(run, "tables", lambda *_: {"latency": Table()})
    arguments = {"target": "latency=0.5,memory=1", "data": "split.npz", "epochs": 1}
    status, out, err = compress("--baselines", *QUICK, **arguments)
    assert status is None, err
    assert out.count(" ...") == out.count("Training ") == 4
    (_, result, _, _, facts) = reports[0]
    found = facts["baselines"]
    assert set(found) == {
        *(baselines.SCRATCH, baselines.NARROW, baselines.NARROW_STEPS, baselines.RANDOM)
    }
    limit, _, after = result.costs["latency"]
    for title, name in baselines._NAMES.items():
        network = keras.saving.load_model(tmp_path / "run" / f"{name}.keras")
        assert found[title]["macs"] == measured_costs(network)["macs"]
        assert found[title]["latency"] == pytest.approx(1e-6 * found[title]["macs"])
        assert found[title]["latency"] <= limit
        assert found[title]["memory"] == measured_costs(network)["memory"]
    assert found[baselines.SCRATCH]["latency"] == after
    status, out, err = compress("--baselines", *QUICK, **arguments)
    assert status is None, err
    assert out.count(", where it is finished.") == out.count("Training ") == 4
    again = reports[1][-1]["baselines"]
    assert {title: row["accuracy"] for title, row in again.items()} == {
        title: row["accuracy"] for title, row in found.items()
    }


@pytest.mark.parametrize("name", options.SCHEDULES)
def test_epochs_of_schedules_are_those_of_python(name):
    least = options.SCHEDULES[name]
    as_schedule(name).check(least)
    if least:
        with pytest.raises(ValueError, match="`epochs` must"):
            as_schedule(name).check(least - 1)


def test_wrong_settings_are_found_before_layers_are_measured(compress, monkeypatch):
    def tables(*_):
        pytest.fail("the layers were measured")

    monkeypatch.setattr(run, "tables", tables)
    status, _, err = compress(*QUICK, target="latency=0.5", exclude="nowhere")
    assert (status, "`exclude` names ['nowhere']" in err) == (1, True), err


def test_a_table_that_is_there_is_told(loaded, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(latency.LatencyTable, "measure", lambda *_, **arguments: arguments["path"])
    values = mock.Mock(table=None, num_threads=None)
    for text in ("Measuring the layers of the model in float32 ...", "missing ones are measured."):
        found = latency.tables(loaded, {"latency": 0.5}, tmp_path, values)
        assert text in capsys.readouterr().out
        found["latency"].touch()


@pytest.mark.xla  # otherwise tests build the optimizer when a model is evaluated
def test_models_without_training_have_the_variables_of_their_optimizer(compress, monkeypatch):
    given = []
    monkeypatch.setattr(report, "deliver", lambda *arguments, **_: given.append(arguments))
    loss = {"model": "plain.keras", "loss": "sparse_categorical_crossentropy"}
    status, _, err = compress(*QUICK, epochs=0, **loss)
    assert status is None, err
    [(model, result, *_)] = given
    for network in (model, result.model):
        # Of Adam, two for each weight. Keras warns when it loads a model with fewer.
        assert len(network.optimizer.variables) > 2 * len(network.trainable_variables)


def test_only_a_plan(compress, tmp_path):
    status, out, err = compress("--plan_only", "--allocation=uniform", "--exclude=second")
    assert status is None, err
    assert os.listdir(tmp_path / "run") == ["plan.json"]
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert list(plan["groups"]) == ["first"]
    before, after = plan["costs"]["macs"]
    assert after <= plan["limits"]["macs"] == before / 2
    assert "first" in out
    assert "There is no x_test in d.npz: 60 of the 600 samples are held out" in out


@pytest.mark.tensorflow
def test_a_finished_run_keeps_its_plan(whole, compress):
    before = (whole / "plan.json").read_bytes()
    status, _, err = compress("--plan_only", *QUICK, out=whole)
    assert status == 1
    assert err.startswith(f"--out={whole} holds a run of the program compress: move it away")
    assert (whole / "plan.json").read_bytes() == before


def test_a_run_without_epochs_is_not_replaced(compress, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "deliver", lambda *_, **__: None)
    assert compress(*QUICK, epochs=0)[0] is None
    status, _, err = compress(*QUICK, epochs=0, batch_size=32)
    assert status == 1
    assert "holds a compression with batch_size=128, not batch_size=32." in err
    assert compress(*QUICK, epochs=0)[0] is None


@pytest.mark.tensorflow
def test_a_killed_run_goes_on_to_the_same_numbers(whole, compress, monkeypatch):
    results = []
    monkeypatch.setattr(report, "deliver", lambda model, result, *_, **__: results.append(result))
    arguments = {**WHOLE, "importance": "norm", "allocation": "uniform"}

    def kill(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run._Start, "on_epoch_begin", kill)
        status, _, err = compress(**arguments)
    assert status == 130
    assert err.startswith("Interrupted: The same command continues after the last epoch")
    status, _, err = compress(**{**arguments, "epochs": 4})
    assert status == 1
    assert "holds a compression with epochs=2, not epochs=4." in err
    assert compress(**arguments)[0] is None
    [again] = results
    assert len(again.history["loss"]) == 2
    weights = keras.saving.load_model(whole / "compact.keras").get_weights()
    for a, b in zip(again.model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_from_the_shell(folder, tmp_path):
    files = [f"--model={folder}/m.keras", f"--data={folder}/split.npz", f"--out={tmp_path}/run"]
    command = [sys.executable, "-m", "apps.compress", "--target=macs=0.5", "--epochs=1"]
    done = subprocess.run(
        [*command, "--baselines", *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads((tmp_path / "run" / "report.json").read_text())
    assert told["compact"]["macs"] <= 0.5 * told["dense"]["macs"]
    assert (tmp_path / "run" / "scratch.keras").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "absent.keras"}, "--model=absent.keras: there is no such file."),
        ({"model": "saved"}, "This folder is a SavedModel"),
        ({"data": "absent.npz"}, "--data=absent.npz: there is no such file."),
        ({"data": None}, "--data is needed with --target"),
        ({"model": "plain.keras"}, "plain.keras holds no loss: give the one of its training"),
        ({"loss": "hing"}, "--loss=hing: Keras has no such loss"),
        ({"target": "flops=0.5"}, "--target limits parameters, macs"),
        ({"target": "macs"}, "--target must be COST=LIMIT"),
        ({"target": "macs=0.5,macs=0.6"}, "--target limits macs twice"),
        ({"target": "macs=2ms"}, "`target` has no quantity for 'macs'"),
        ({"target": "macs=-1"}, "--target needs a share"),
        ({"target": "macs=nan"}, "--target needs a share"),
        ({"target": "latency=2h"}, "--target needs a share"),
        ({"data": "x.npy"}, "--data=x.npy cannot be read as a .npz file"),
        ({"model": "x.npy"}, "x.npy cannot be loaded: it is neither a .keras nor an HDF5 file"),
        ({"table": "absent/t.json", "target": "latency=1ms"}, "--table cannot be written"),
        ({"exclude": "third"}, "`exclude` names ['third']"),
        ({"exclude": "third", "target": "latency=0.5"}, "`exclude` names ['third']"),
        ({"schedule": "growing", "plan_only": True}, "not --plan_only"),
        ({"schedule": "iterative", "epochs": 3}, "--schedule=iterative needs --epochs of at least"),
        ({"schedule": "growing", "epochs": 1}, "--schedule=growing needs --epochs of at least 2."),
        ({"target": "latency=2"}, "`target` must have a unit for 'latency' above 1, such as '2 ms"),
        ({"schedule": "iterative", "baselines": True}, "omit it, or --schedule=iterative"),
        ({"exclude": "first,second"}, "The model has no channels that can be removed"),
        ({"threshold": 0.0}, "--threshold cuts dead channels out"),
        ({"table": "t.json"}, "--table is for the targets latency and int8_latency"),
        ({"out": "small.keras"}, "with --target this is a folder"),
        ({"out": "m.keras/run"}, "cannot be written"),
        ({"model": "used/compact.keras", "out": "used"}, "--model=used/compact.keras would be"),
        ({"model": "used/link.keras", "out": "used"}, "would be replaced by a file of the run"),
        ({"data": "plan.json", "out": "."}, "--data=plan.json would be replaced by a file"),
        ({"table": "./report.json", "target": "latency=0.5", "out": "."}, "--table=./report.json"),
        ({"model": "plan.json", "out": ".", "plan_only": True}, "--model=plan.json would be"),
        ({"out": "trained"}, "--out=trained holds a run of the program train: move it away"),
        ({"out": "trained", "plan_only": True}, "--out=trained holds a run of the program train"),
        ({"quantize": "int4"}, "quantize must name any of"),
        ({"import": "no_such_module"}, "--import=no_such_module cannot be imported"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"target": None}, "--data is for --target: give both."),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(values, message, compress, folder, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    status, _, err = compress(**{"importance": "norm", "allocation": "uniform", **values})
    assert status == 1
    assert err.count("\n") == 1
    assert message in err
    assert not os.listdir(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_budget_that_cannot_be_met(compress):
    status, _, err = compress(*QUICK, target="macs=1e-9")
    assert (status, "`target` cannot be met" in err) == (1, True)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("x.npy", "--data=x.npy cannot be read as a .npz file"),
        ("m.keras", "has no array x or y"),
        ("lonely.npz", "has no array y_test"),
        ("small.npz", "must have the shapes of the model's inputs, (n, 8, 8, 1)"),
        ("short.npz", "y must have a row for each of the 9 samples of x"),
        ("eleven.npz", "y must hold classes from 0 to 9"),
        ("columns.npz", "y of shape (9, 4) does not fit"),
    ],
)
def test_data_that_do_not_fit(file, message, folder, loaded, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=re.escape(message)):
        inputs.load_data(file, loaded, seed=0)


@pytest.fixture(scope="module")
def several(folder):
    """A model of two inputs and two outputs, and its arrays by key."""
    image, place = keras.Input((8, 8, 1), name="image"), keras.Input((2,), name="place")
    x = layers.Concatenate()([layers.Flatten()(image), place])
    x = layers.Dense(12, activation="relu", name="hidden")(x)
    outputs = {"kind": layers.Dense(3, name="kind")(x), "box": layers.Dense(4, name="box")(x)}
    model = keras.Model({"image": image, "place": place}, outputs)
    losses = {
        "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "box": "mse",
    }
    model.compile("adam", losses, metrics={"kind": ["accuracy"]})
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "several.keras")
    rng = np.random.default_rng(0)
    arrays = {
        "x_image": rng.normal(size=(40, 8, 8, 1)).astype("float32"),
        "x_place": rng.normal(size=(40, 2)).astype("float32"),
        "y_kind": rng.integers(0, 3, 40),
        "y_box": rng.normal(size=(40, 4)).astype("float32"),
    }
    np.savez(folder / "several.npz", **arrays)
    return model, arrays


def test_several_inputs_and_outputs(several, compress, monkeypatch):
    given = []
    monkeypatch.setattr(report, "deliver", lambda *arguments, **_: given.append(arguments))
    status, _, err = compress(*QUICK, model="several.keras", data="several.npz", epochs=1)
    assert status is None, err
    [(_, result, data, *_)] = given
    assert result.metrics["recovered"]["kind_accuracy"] >= 0
    (x, y), arrays = data.test, several[1]
    assert len(x["place"]) == len(y["box"]) == 4
    row = np.flatnonzero((arrays["x_place"] == x["place"][0]).all(1))[0]
    np.testing.assert_array_equal(y["box"][0], arrays["y_box"][row])
    np.testing.assert_array_equal(x["image"][0], arrays["x_image"][row])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_box": None}, "has no array y_box: give x_train_image, x_train_place, y_train_box, "),
        ({"y_box": None}, "or x_image, x_place, y_box, y_kind. Received: x_image, x_place, y_kind"),
        ({"x_test_place": np.zeros((4, 2))}, "has no array x_test_image or y_test_box or y_test_"),
        ({"x_place": np.zeros((40, 3))}, "x_place` must have the shapes of the model's inputs, (n"),
        ({"x_place": np.zeros((39, 2))}, "x_place must have a row for each of the 40 samples of"),
        ({"y_kind": np.full(40, 3)}, "y_kind must hold classes from 0 to 2"),
        ({"y_box": np.zeros((40, 5))}, "y_box, y_kind of shape (40, 5), (40,) does not fit"),
    ],
)
def test_several_arrays_that_do_not_fit(several, change, message, tmp_path):
    model, arrays = several
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError, match=re.escape(message)):
        inputs.load_data(tmp_path / "d.npz", model, seed=0)


def test_one_loss_is_not_for_several_outputs(several):
    with pytest.raises(program.UsageError, match="This one has box, kind"):
        inputs._named_loss("mse", several[0])


def test_the_loss_of_a_file_without_one(compress):
    status, out, err = compress(
        *("--plan_only", *QUICK),
        model="plain.keras",
        loss="sparse_categorical_crossentropy",
    )
    assert status is None, err
    assert "sparse_categorical_crossentropy of probabilities: the last activation is softm" in out
    assert "The file holds no optimizer: Adam is taken." in out
    for name, kind in (("softmax", "probabilities"), (None, "logits")):
        _, told = inputs._named_loss("categorical_crossentropy", network(activation=name))
        assert f"categorical_crossentropy of {kind}" in told


@pytest.mark.parametrize("name", ["categorical_crossentropy", "CategoricalCrossentropy"])
@pytest.mark.parametrize("last", ["softmax", "linear"])
@pytest.mark.parametrize(
    "behind",
    [
        [],
        [layers.Dropout(0.5)],
        [layers.Reshape((2, 5)), layers.Flatten()],
        [layers.Activation("linear", dtype="float32")],
    ],
    ids=len,
)
def test_a_named_loss_fits_the_last_activation(name, last, behind):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(10), layers.Activation(last)])
    nested = keras.Sequential([keras.Input((4,)), model, *behind])
    flat = keras.Sequential([keras.Input((4,)), *model.layers, *behind])
    for own in (flat, nested):
        loss, _ = inputs._named_loss(name, own)
        assert loss.from_logits == (last == "linear")


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_named_loss_replaces_one_that_cannot_be_read(ending, tmp_path):
    def own_loss(y, y_pred):
        return keras.ops.mean(y - y_pred)

    model = network()
    model.compile("sgd", own_loss)
    model.save(tmp_path / f"m{ending}")
    with pytest.raises(ValueError, match="--import=MODULE"):
        inputs.load_compiled(tmp_path / f"m{ending}")
    loaded, _ = inputs.load_compiled(tmp_path / f"m{ending}", "mse")
    assert loaded.loss.__name__ == "mean_squared_error"


def test_labels_of_yes_or_no(tmp_path):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    x = np.zeros((6, 4), "float32")
    for y, fits in (([0, 1] * 3, True), ([0.0, 0.5, 1.0] * 2, True), ([1, 2] * 3, False)):
        np.savez(tmp_path / "d.npz", x=x, y=np.array(y)[:, None])
        expected = contextlib.nullcontext() if fits else pytest.raises(ValueError, match="0 to 1")
        with expected:
            inputs.load_data(tmp_path / "d.npz", model, seed=0)


def test_distillation_is_of_logits(loaded, compress):
    assert inputs.distillation(loaded).temperature == 2.0
    status, _, err = compress(
        "--distill", model="plain.keras", loss="sparse_categorical_crossentropy"
    )
    assert (status, "the last activation softmax" in err) == (1, True), err


def test_the_given_model_teaches_the_baselines_too(compress, monkeypatch):
    taught = []
    monkeypatch.setattr(baselines, "Training", lambda **given: taught.append(given["distillation"]))
    with pytest.raises(AttributeError):  # there is no training
        compress("--distill", "--baselines", *QUICK, epochs=1, data="split.npz")
    assert [loss.temperature for loss in taught] == [2.0]


def test_distillation_of_a_subclassed_model():
    class OfOnesOwn(keras.Model):
        def __init__(self):
            super().__init__()
            self.last = layers.Dense(3)

        def call(self, inputs):
            return self.last(inputs)

    model = OfOnesOwn()
    model(np.zeros((1, 2)))
    model.compile("sgd", "categorical_crossentropy")
    assert inputs.distillation(model).temperature == 2.0


def test_schedule_and_distillation_reach_compress(compress, monkeypatch):
    given = {}

    def stop(*_, **arguments):
        given.update(arguments)
        raise ValueError("far enough")

    monkeypatch.setattr(run.keras_sparse, "compress", stop)
    assert compress("--distill", schedule="growing")[0] == 1
    assert given["schedule"] == "growing"
    assert isinstance(given["distillation"], keras.distillation.LogitsDistillation)


def test_layers_of_a_persons_own(compress, tmp_path, monkeypatch):
    (tmp_path / "own_layers.py").write_text(
        "import keras\n\nclass Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n        return x * 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import own_layers

    model = network()
    model = keras.Model(model.inputs[0], own_layers.Twice()(model.outputs[0]))
    model.compile(loss="mse")
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "own.keras")
    np.savez(tmp_path / "own.npz", x=np.zeros((4, 8, 8, 1)), y=np.zeros((4, 10)))
    files = {"model": tmp_path / "own.keras", "data": tmp_path / "own.npz"}
    status, _, err = compress("--plan_only", *QUICK, **files)
    assert (status, "Twice" in err) == (1, True)
    del sys.modules["own_layers"]
    status, _, err = compress("--plan_only", *QUICK, "--import=own_layers", **files)
    keras.saving.get_custom_objects().pop("Twice", None)
    assert status is None, err


@pytest.mark.parametrize(
    ("table", "quantize", "several", "name"),
    [
        (None, None, False, "run/latency.json"),
        (None, "int8", False, "run/latency-int8.json"),
        ("t.json", "int8", False, "t.json"),
        ("t.json", "int8", True, "t-int8.json"),
    ],
)
def test_files_of_the_tables(table, quantize, several, name, tmp_path):
    table = table and tmp_path / table
    assert latency._path(tmp_path / "run", table, quantize, several) == tmp_path / name


def test_costs_and_units_are_those_of_budgets():
    assert options.COSTS == budget.COSTS
    for unit in (*budget.SECONDS, *budget.BYTES, *budget.COUNTS):
        assert options._limit(f"2{unit}", "") == f"2{unit}"
    assert options._limit("2", "") == 2.0


def test_targets_by_commas_and_again():
    class Values:
        target = ("macs=0.5, parameters=100k", "int8_latency=2 ms")

    assert options.targets(Values) == {"macs": 0.5, "parameters": "100k", "int8_latency": "2 ms"}
    Values.target = ("macs=",)
    with pytest.raises(program.UsageError, match="COST=LIMIT"):
        options.targets(Values)


@pytest.mark.tensorflow
def test_the_file_for_firmware(compress, tmp_path):
    pytest.importorskip("tflite_micro")
    status, out, _ = compress(target="flash=0.7,arena=1", epochs=1)
    assert status is None
    found = json.loads((tmp_path / "run" / "report.json").read_text())
    limit, _, flash = found["costs"]["flash"]
    path = tmp_path / "run" / "firmware.tflite"
    assert path.stat().st_size == flash <= limit
    assert measure([path]).files[0].arena == found["costs"]["arena"][2]
    told = firmware.sentences(found)[0]
    assert f"Its accuracy is {found['firmware']['accuracy']:.4f}" in told
    assert told.split()[0] in out
    for name in ("report.md", "report.html"):
        assert "firmware.tflite" in (tmp_path / "run" / name).read_text()


def test_a_file_for_firmware_that_could_not_be_made(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ExportError("a reason")

    monkeypatch.setattr(firmware, "convert", fail)
    found = firmware.write(None, tmp_path, representative=None, samples=None, labels=None)
    assert firmware.sentences({"firmware": found}) == ["There is no firmware.tflite: a reason"]
    assert firmware.sentences({}) == []
    assert not firmware.is_wanted({"macs": 0.5})


@pytest.mark.parametrize("name", [None, "binary_crossentropy"])
def test_the_accuracy_of_logits_of_yes_or_no(name, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    model.save(tmp_path / "m.keras")
    x = np.random.default_rng(0).normal(size=(200, 4)).astype("float32")
    y = np.random.default_rng(1).integers(0, 2, (200, 1))
    loaded, _ = inputs.load_compiled(tmp_path / "m.keras", name)
    found = loaded.evaluate(x, y, verbose=0, return_dict=True)["accuracy"]
    assert found == pytest.approx(np.mean((model.predict(x, verbose=0) > 0) == y))


def test_samples_of_a_sorted_file_are_of_all_classes():
    y = np.repeat(np.arange(10), 300)
    data = inputs.Data((y[:, None], y), (y[:, None], y), "")
    found = report._samples(data, y)
    assert set(found["representative"][:, 0]) == set(range(10))
    assert set(found["labels"]) == set(range(10))
    assert np.array_equal(found["samples"][:, 0], found["labels"])
