"""Tables of rows: run, skipped when done, continued after a kill, written down."""

import csv
import dataclasses
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
import rich.console
from absl import flags

from apps import program, reproduce, tables
from apps.reproduction import engine, reduction, results, training
from apps.reproduction.table import FILES, Column, Row, Table
from apps.tables import edge_frontier, inactive_unit, pruning_baselines
from apps.training import loop, tasks
from apps.training.networks import network
from keras_sparse import data, models
from tests.in_process import run_program
from tests.optimizers.matrix import thorough

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A small mnist.npz in which the brightness tells the class."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")
    labels = rng.integers(0, 10, 300)
    images = (labels * 25)[:, None, None] + rng.integers(0, 9, (300, 28, 28))
    images[0] = 0
    images[1] = 255
    parts = (images[:200], labels[:200], images[200:], labels[200:])
    np.savez(folder / "mnist.npz", **dict(zip(ARRAYS, parts, strict=True)))
    return folder


@pytest.fixture(scope="module")
def cifar_dir(tmp_path_factory):
    """A small cifar10.npz of noise."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("cifar")
    parts = [
        part
        for count in (32, 8)
        for part in (rng.integers(0, 256, (count, 32, 32, 3)), rng.integers(0, 10, count))
    ]
    np.savez(folder / "cifar10.npz", **dict(zip(ARRAYS, parts, strict=True)))
    return folder


def _model(input_shape, classes):
    inputs = keras.Input(input_shape)
    x = keras.layers.AveragePooling2D(7)(inputs)
    x = keras.layers.Dense(8, "relu")(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(inputs, keras.layers.Dense(classes)(keras.layers.BatchNormalization()(x)))


def _measure(model, dataset):
    weights = sum(float(np.abs(w).sum()) for w in model.get_weights())
    return {"weights": weights, "accuracy": 100 * training.accuracy(model, dataset)}


def _row(name, rate, **arguments):
    return Row({"optimizer": name}, {"learning_rate": rate}, **arguments)


TABLE = Table(
    title="A small table",
    reference="none",
    settings={
        **{"dataset": "mnist", "held_out": 0.1, "unit_pixels": True, "batch_size": 32, "epochs": 4},
        **{"model": _model, "optimizer": "adam", "schedule": "cosine"},
    },
    rows=(_row("Adam", 1e-2, published={"accuracy": 99.5}), _row("slow Adam", 1e-4)),
    columns={"accuracy": Column("accuracy, %", ".1f"), "weights": Column("sum of weights")},
    measure=_measure,
)


def run(data_dir, out, seeds=1, epochs=None, rows="", train_images=None, table=TABLE):
    engine.prepare("small", table, out, seeds, epochs, rows, train_images, str(data_dir)).run(
        "a command"
    )
    return {path.stem: json.loads(path.read_text()) for path in (out / "cells").iterdir()}


def figures(cells):
    return {name: cell["figures"] for name, cell in cells.items()}


@pytest.fixture(scope="module")
def finished(data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "new" / "folder"
    return out, run(data_dir, out, seeds=2)


def test_each_row_and_seed_has_its_run(finished):
    out, cells = finished
    names = {f"{row}-seed{seed}" for row in ("adam", "slow-adam") for seed in (0, 1)}
    assert set(cells) == names
    values = [cell["figures"]["weights"] for cell in cells.values()]
    assert len(set(values)) == 4  # every seed and every row is a training of its own
    assert {"results.csv", "results.md", "results.png", "table.json", "cells"} == {
        path.name for path in out.iterdir()
    }


def test_results_are_mean_and_standard_error_beside_the_published_figure(finished):
    out, cells = finished
    pair = [cells[f"adam-seed{seed}"]["figures"]["accuracy"] for seed in (0, 1)]
    with (out / "results.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first["optimizer"] == "Adam"
    assert first["runs"] == "2"
    assert float(first["accuracy_mean"]) == pytest.approx(np.mean(pair))
    assert float(first["accuracy_standard_error"]) == pytest.approx(abs(pair[0] - pair[1]) / 2)
    assert first["accuracy_published"] == "99.5"
    text = (out / "results.md").read_text()
    assert f"{np.mean(pair):.1f} ± {abs(pair[0] - pair[1]) / 2:.1f} | 99.5" in text
    assert "4 epochs of 180 training images" in text
    assert "a command" in text


def test_one_run_has_no_standard_error():
    cells = {"adam": [{"figures": {"accuracy": 50.0, "weights": 1.0}}], "slow-adam": []}
    (row,) = results.summary(TABLE, cells)
    assert row["figures"]["accuracy"] == (50.0, None)


def test_a_narrow_terminal_cuts_no_name_and_no_number():
    cells = {"adam": [{"figures": {"accuracy": 50.0, "weights": 1.0}}], "slow-adam": []}
    shown = []
    for width in (200, 30):
        console = rich.console.Console(width=width, record=True, file=io.StringIO())
        console.print(results.as_rich(TABLE, cells, console))
        shown.append(console.export_text().split("\n"))
    wide, narrow = shown
    assert max(map(len, narrow)) <= 30 < max(map(len, wide))
    for column in TABLE.columns.values():
        assert any(column.title in line for line in wide)
        assert any(column.title in line for line in narrow)
    assert any(line.split()[-1:] == ["50.0"] for line in narrow)


def test_what_is_done_is_not_run_again(finished, data_dir):
    out, cells = finished
    times = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert run(data_dir, out, seeds=2) == cells
    assert {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()} == times
    (out / "cells" / "adam-seed1.json").unlink()
    assert figures(run(data_dir, out, seeds=2)) == figures(cells)


class Killed(BaseException):
    pass


def dies_in_epoch(monkeypatch, epoch):
    """A kill in the midst of an epoch; returns the list of the epochs that began."""
    begun, begins = [], loop._Checkpoint.on_epoch_begin

    def on_epoch_begin(self, number, logs=None):
        begun.append(number)
        if number == epoch and begun.count(number) == 1:
            raise Killed
        begins(self, number, logs)

    monkeypatch.setattr(loop._Checkpoint, "on_epoch_begin", on_epoch_begin)
    return begun


def test_files_are_kept_and_measured_together(data_dir, tmp_path):
    measured = []

    def leaves_a_file(table, row, config, task, folder, on_epoch):
        (folder / FILES).mkdir()
        (folder / FILES / "model").write_text(row.key)
        return {"weights": 1.0}, None

    def together(folders):
        measured.append(sorted(folders))
        sizes = {name: len((path / "model").read_text()) for name, path in folders.items()}
        return {name: {"accuracy": float(size)} for name, size in sizes.items()}

    table = dataclasses.replace(TABLE, experiment=leaves_a_file, together=together)
    for _ in range(2):
        run(data_dir, tmp_path, rows="^adam", table=table)
    assert measured == [["adam-seed0"]]  # once for the same runs
    run(data_dir, tmp_path, table=table)
    assert measured[1:] == [["adam-seed0", "slow-adam-seed0"]]
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["accuracy_mean"]) for row in rows] == [4.0, 9.0]


def test_what_another_backend_trained_is_measured_later(finished, data_dir, tmp_path, monkeypatch):
    elsewhere = dataclasses.replace(TABLE, backend="numpy", experiment=None)
    assert run(data_dir, tmp_path, rows="^adam", table=elsewhere) == {}
    assert not (tmp_path / "results.csv").exists()

    trained = tmp_path / "unfinished" / "adam-seed0" / "trained.json"
    assert json.loads(trained.read_text())["backend"] == keras.backend.backend()
    trained.write_text('{"backend": "elsewhere"}')
    begun = dies_in_epoch(monkeypatch, epoch=None)
    cells = run(data_dir, tmp_path, rows="^adam")
    assert not begun  # it was trained already
    backend = keras.backend.backend()
    assert f"on {backend}; trained on elsewhere." in (tmp_path / "results.md").read_text()
    assert figures(cells) == {"adam-seed0": finished[1]["adam-seed0"]["figures"]}
    assert not (tmp_path / "unfinished").exists()


class FirstHalf(Row):
    def first_training(self, config):
        return config.replace(epochs=config.training.epochs // 2)


class FromAnotherModel(Row):
    @property
    def is_training(self):
        return False


def test_another_backend_trains_only_what_a_row_begins_with(data_dir, tmp_path, capsys):
    def continues(table, row, config, task, folder, on_epoch):
        return training.train(table, row, row.first_training(config), task, folder, on_epoch)

    rows = tuple(make({"row": make.__name__}) for make in (FirstHalf, FromAnotherModel))
    table = dataclasses.replace(TABLE, rows=rows, experiment=continues)
    elsewhere = dataclasses.replace(table, backend="numpy")
    run(data_dir, tmp_path, epochs=2, table=elsewhere)
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["firsthalf-seed0"]
    told = " ".join(capsys.readouterr().out.split())
    assert told.endswith("KERAS_BACKEND=numpy, which trains 1 more")
    assert list(run(data_dir, tmp_path, epochs=2, rows="first", table=table)) == ["firsthalf-seed0"]


def test_fine_tuning_by_filter_norm_is_not_part_of_the_first_training():
    rows = {row.labels["method"]: row for row in tables.load("reduction_mnist").rows}
    config = tables.load("reduction_mnist").config(rows[reduction.FILTER_NORM]).replace(epochs=5)
    found = {name: row.first_training(config).training.epochs for name, row in rows.items()}
    assert found.pop(reduction.FILTER_NORM) == 4
    assert set(found.values()) == {5}


@pytest.mark.parametrize(
    "pause", [0.0, pytest.param(1e9, marks=pytest.mark.slow)], ids=["checkpoint", "no checkpoint"]
)
def test_a_killed_run_comes_to_the_same_figures(pause, finished, data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_CHECKPOINT_SECONDS", pause)
    begun = dies_in_epoch(monkeypatch, epoch=2)
    with pytest.raises(Killed):
        run(data_dir, tmp_path, rows="^adam")
    cells = run(data_dir, tmp_path, rows="^adam")
    assert begun[3:] == ([2, 3] if pause == 0 else [0, 1, 2, 3])
    assert figures(cells) == {"adam-seed0": finished[1]["adam-seed0"]["figures"]}
    assert not (tmp_path / "unfinished").exists()


def test_rows_are_chosen_by_their_names(data_dir, tmp_path):
    cells = run(data_dir, tmp_path, rows="slow", epochs=1, train_images=50)
    assert set(cells) == {"slow-adam-seed0"}
    assert cells["slow-adam-seed0"]["epochs"] == 1
    assert cells["slow-adam-seed0"]["train_images"] == 50


def test_data_are_as_the_table_says(data_dir, tmp_path):
    seen = []

    def look(table, row, config, task, folder, on_epoch):
        seen.append(task.judged)
        return {"accuracy": 0.0, "weights": 0.0}, None

    for unit_pixels in (True, False):
        settings = {**TABLE.settings, "unit_pixels": unit_pixels}
        table = dataclasses.replace(TABLE, experiment=look, settings=settings)
        run(data_dir, tmp_path / str(unit_pixels), rows="slow", table=table)
    pixels, normal = (dataset.x_train for dataset in seen)
    with np.load(data_dir / "mnist.npz") as file:
        images = file["x_train"][:180, ..., None]
    np.testing.assert_allclose(pixels, images / 255, atol=1e-6)
    assert normal.mean() != pytest.approx(pixels.mean())
    assert len(seen[0].y_train) == 180


BAD = [
    ({}, "--table must be one of compression"),
    ({"table": "imagenet"}, "--table must be one of compression"),
    ({"table": "implicit_mnist", "data_dir": "nowhere"}, "There is no file nowhere/mnist.npz"),
    ({"table": "implicit_mnist", "seeds": "0"}, r"seeds=0: .*range \[1, "),
    ({"table": "implicit_mnist", "epochs": "0"}, r"epochs=0: .*range \[1, "),
    ({"table": "implicit_mnist", "rows": "("}, "no regular expression"),
    ({"table": "implicit_mnist", "rows": "lion"}, "fits none of the rows"),
    ({"table": "implicit_mnist", "train_images": "999"}, "--train_images must be at most 200"),
    ({"table": "rda_imagenet"}, "train each row by `python -m apps.train --row=rda_imagenet/ROW`"),
    ({"table": "inactive_unit", "train_images": "9"}, "--train_images must be omitted"),
    ({"table": "implicit_mnist", "out": "pyproject.toml/run"}, "cannot be written"),
]


@pytest.fixture
def values():
    # Not the process' own, in which other programs' flags have some of the same names.
    own = flags.FlagValues()
    reproduce.define_flags(own)
    return own


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=str)
def test_bad_values_are_told_before_any_work(arguments, message, values, data_dir, tmp_path):
    given = {"data_dir": str(data_dir), "out": str(tmp_path / "new"), **arguments}

    def called():
        values(["reproduce", *(f"--{name}={value}" for name, value in given.items())])
        reproduce.main(values)

    with pytest.raises((program.UsageError, flags.Error), match=message):
        called()
    assert not (tmp_path / "new").exists()


def test_a_folder_of_another_program_is_refused(values, data_dir, tmp_path):
    (tmp_path / "settings.json").touch()
    values(["reproduce", "--table=implicit_mnist", f"--data_dir={data_dir}", f"--out={tmp_path}"])
    with pytest.raises(program.UsageError, match="holds a run of the program compress"):
        reproduce.main(values)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.json"]


def test_a_folder_of_other_settings_is_refused(finished, data_dir):
    with pytest.raises(ValueError, match="holds runs of table=small, epochs=4"):
        run(data_dir, finished[0], epochs=3)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("table.json", "{"),
        ("table.json", "[1]"),
        ("cells/adam-seed1.json", ""),
        ("cells/adam-seed1.json", '{"row": "adam", "figures": 3, "seconds_per_epoch": 1.0}'),
        ("unfinished/adam-seed1/checkpoint/state.json", '{"epoch": -2}'),
    ],
)
def test_a_damaged_file_is_named(name, text, finished, data_dir, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished[0], out)
    (out / "cells" / "adam-seed1.json").unlink()
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text(text)
    told = rf"{name} is damaged|{pathlib.Path(name).parent} cannot be resumed: .* Or delete"
    with pytest.raises(program.UsageError, match=told):
        run(data_dir, out, seeds=2)
    assert (out / name).read_text() == text


# The networks of CIFAR, small.
SMALL = {
    "wide_resnet": {"depth": 10, "width": 0.25},
    **{
        name: {"width": 0.05}
        for name in (
            *("basicnet", "resnet_18", "resnet_50", "vgg16_bn", "vgg19_bn"),
            *("alexnet_s", "alexnet_b", "vgg16_c", "vgg16_d", "vgg16_like"),
        )
    },
}


@pytest.fixture
def small_networks(monkeypatch):
    for name, size in SMALL.items():
        whole = getattr(models, name)
        small = lambda whole=whole, size=size, **arguments: whole(**{**arguments, **size})  # noqa: E731
        monkeypatch.setattr(models, name, small)


@pytest.mark.parametrize(
    "rows", [slice(None, None, 7), pytest.param(slice(None), marks=pytest.mark.slow)], ids=str
)
@pytest.mark.parametrize("name", tables.NAMES)
def test_every_table_builds_its_rows(name, rows, small_networks):
    table = tables.load(name)
    known = {**data.DATASETS, "imagenet": ((64, 64, 3), 1000), None: ((28, 28, 1), 10)}
    shape, classes = known[table.dataset]
    task = types.SimpleNamespace(input_shape=shape, classes=classes)
    for row in table.rows[rows]:
        config = table.config(row)
        if row.is_training:  # or the experiment makes it
            assert network(task, config.network, seed=0).output_shape == (None, classes)
            assert tables.row(f"{name}/{row.key}").settings == config.settings
        for epochs, steps in ((config.training.epochs, 937), (1, 1)):
            run = loop.Run(0, epochs, steps)
            assert isinstance(loop.optimizer(config, run), keras.optimizers.Optimizer)
            assert isinstance(config.optimizer.callbacks(run), list)
        assert set(row.published) <= set(table.columns)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "row"),
    [("sparse_momentum_cifar10", "wrn-28-2-10$"), ("rda_cifar10", "staged")],
)
def test_the_tables_of_cifar_train(name, row, small_networks, cifar_dir, tmp_path):
    cells = run(cifar_dir, tmp_path, epochs=3, rows=row, table=tables.load(name))
    (found,) = figures(cells).values()
    assert all(np.isfinite(value) for value in found.values())


# One without a picture, and one of each kind of picture.
DRAWN = (
    "rda_cifar10",
    "edge_frontier",
    "implicit_mnist",
    "inactive_unit",
    "sparse_momentum_mnist",
    "reduction_mnist",
)


@pytest.mark.parametrize("name", thorough(tables.NAMES, *DRAWN))
def test_every_table_is_written_and_drawn(name, tmp_path):
    table = tables.load(name)
    figures = dict.fromkeys(table.columns, 1.5) | {"norms": [1.0, 0.5]}
    cells = {row.key: [{"figures": figures, "seconds_per_epoch": None}] for row in table.rows}
    facts = {"epochs": 1, "train_images": None, "keras": "3", "backend": "x", "command": "c"}
    results.write_text(table, cells, facts, tmp_path)
    results.write_picture(table, cells, tmp_path)
    assert (tmp_path / "results.csv").read_text().count("\n") == 1 + len(table.rows)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_adam_alone_kills_an_inactive_unit(tmp_path, monkeypatch):
    monkeypatch.setattr(inactive_unit, "_STEPS_PER_EPOCH", 300)
    prepared = engine.prepare(
        "inactive_unit", inactive_unit.TABLE, tmp_path, 1, 1, "^(adam|sgd)", None, None
    )
    prepared.run("a command")
    norms = {
        path.stem: json.loads(path.read_text())["figures"]["norms"]
        for path in (tmp_path / "cells").iterdir()
    }
    assert all(len(values) == 301 for values in norms.values())
    assert norms["adam-seed0"][-1] < 1e-3
    assert all(norms[name][-1] > 0.9 for name in ("sgd-seed0", "adamw-seed0"))


@pytest.mark.slow
@pytest.mark.tensorflow
def test_baselines_measure_what_is_left_after_surgery(data_dir):
    table = pruning_baselines.TABLE
    config = table.config(table.rows[0]).replace(data_dir=str(data_dir))
    task = tasks.load(config.data)
    model, dataset = network(task, config.network, seed=0), task.judged
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    whole = pruning_baselines.TABLE.measure(model, dataset)
    kernel = model.get_layer("dense1").kernel
    kernel.assign(kernel * (np.arange(300) % 2))
    halved = pruning_baselines.TABLE.measure(model, dataset)
    assert set(pruning_baselines.TABLE.columns) <= set(whole) | {"seconds_per_epoch"}
    assert whole["density"] == 100
    assert whole["dead"] == 0
    assert halved["dead"] == pytest.approx(100 * 150 / 400)
    assert halved["size"] < 0.6 * whole["size"]


def _half_dead(input_shape, classes, **arguments):
    model = models.resnet_8(input_shape, classes, width=0.25)
    gamma = model.get_layer("stage1_conv1_bn").gamma
    gamma.assign([0.0, 1e-4, 1.0, 1.0])
    return model


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_frontier_measures_cut_networks_as_files(cifar_dir, tmp_path):
    changes = {"model": _half_dead, "optimizer": "sgd", "learning_rate": 1e-30, "l2": None}
    row = Row(edge_frontier.TABLE.rows[0].labels, changes)
    table = dataclasses.replace(edge_frontier.TABLE, rows=(row,))
    cells = run(cifar_dir, tmp_path, epochs=1, table=table)
    name = f"{row.key}-seed0"
    found = cells[name]["figures"] | json.loads((tmp_path / "together.json").read_text())[name]
    assert set(found) == set(table.columns)
    whole = _half_dead((32, 32, 3), 10).count_params()
    # Two of four channels: what leads into them, their normalisation, what they led to.
    assert found["parameters"] == whole - 2 * (9 * 4 + 1) - 2 * 4 - 2 * 9 * 4
    assert found["size_int8"] < found["size"]
    assert min(found["latency"], found["latency_int8"]) > 0


@pytest.mark.slow
@pytest.mark.integration
def test_killed_from_outside_goes_on(data_dir, tmp_path, capsys):
    arguments = ["--table=implicit_mnist", "--seeds=1", "--rows=^adam-l2-relu", "--epochs=1"]
    arguments += [f"--data_dir={data_dir}", f"--out={tmp_path}"]
    command = [sys.executable, "-m", "apps.reproduce", *arguments]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (tmp_path / "unfinished").exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert not run_program("apps.reproduce", *arguments)
    assert "adam-l2-relu" in capsys.readouterr().out
    names = {path.name for path in pathlib.Path(tmp_path, "cells").iterdir()}
    assert names == {"adam-l2-relu-seed0.json"}
