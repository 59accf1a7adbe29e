"""The table of compressed networks: its rows depend on one another."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from apps.reproduction import compression_picture, engine
from apps.reproduction.table import FILES
from apps.tables import compression
from keras_sparse import surgery

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def cifar_dir(tmp_path):
    """A small cifar10.npz of noise."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 64), ("test", 8)):
        arrays[f"x_{part}"] = rng.integers(0, 256, (count, 32, 32, 3))
        arrays[f"y_{part}"] = rng.integers(0, 10, count)
    np.savez(tmp_path / "cifar10.npz", **arrays)
    return tmp_path


def measured(model, dataset, folder):
    """Without the files, which take most of the time."""
    files = folder / FILES
    files.mkdir(exist_ok=True)
    model.save(files / "model.keras")
    figures = dict.fromkeys(compression.TABLE.columns, 1.0)
    return figures | {"macs": surgery.count_macs(model).total}


@pytest.mark.slow
def test_all_rows_of_a_budget_have_one_shape(cifar_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compression, "measured", measured)
    monkeypatch.setattr(compression, "_WIDE", 0.5)
    rows = (
        compression._dense(0.5),
        compression._cut("macs", "half", "scratch"),
        compression._cut("macs", "half", "inherited"),
        compression._cut("macs", "half", "random channels"),
        compression._cut("macs", "half", "inherited", epochs=0),
        compression._cut("macs", "half", "inherited", full_rate=True),
    )
    table = dataclasses.replace(compression.TABLE, rows=rows, together=None)
    out = tmp_path / "out"
    engine.prepare("compression", table, out, 1, 1, "", None, str(cifar_dir)).run("test")
    cells = [json.loads((out / "cells" / f"{row.key}-seed0.json").read_text()) for row in rows]
    wide, *others = [cell["figures"]["macs"] for cell in cells]
    assert len(set(others)) == 1
    assert others[0] <= wide / 2
    kernels = [
        keras.saving.load_model(out / FILES / f"{row.key}-seed0" / "model.keras")
        .get_layer("stage3_conv2")
        .kernel.numpy()
        for row in rows[1:]
    ]
    shapes = {kernel.shape for kernel in kernels}
    assert len(shapes) == 1
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


def test_a_row_without_its_wide_network_says_which(cifar_dir, tmp_path, monkeypatch):
    row = compression._cut("macs", "half", "inherited")
    table = dataclasses.replace(compression.TABLE, rows=(row,), together=None)
    out = tmp_path / "out"
    program = engine.prepare("compression", table, out, 1, 1, "", None, str(cifar_dir))
    with pytest.raises(ValueError, match="train the row width-2-scratch before"):
        program.run("test")


@pytest.mark.slow
def test_a_narrow_network_is_trained_as_long_as_both_or_has_a_teacher(
    cifar_dir, tmp_path, monkeypatch
):
    monkeypatch.setattr(compression, "measured", measured)
    monkeypatch.setattr(compression, "_WIDE", 2.0)
    monkeypatch.setattr(compression, "_FIRST", ("macs", "half"))
    rows = (
        compression._dense(2.0),
        compression._dense(1.0, as_long=True),
        compression._cut("macs", "half", "inherited"),
        compression._dense(1.0, distilled=True),
    )
    table = dataclasses.replace(compression.TABLE, rows=rows, together=None)
    out = tmp_path / "out"
    epochs = []
    trained_model = compression.training.trained_model

    def counted(config, *arguments):
        epochs.append(config.training.epochs)
        return trained_model(config, *arguments)

    monkeypatch.setattr(compression.training, "trained_model", counted)
    engine.prepare("compression", table, out, 1, 1, "", None, str(cifar_dir)).run("test")
    wide, long, cut, distilled = (
        json.loads((out / "cells" / f"{row.key}-seed0.json").read_text())["figures"]["macs"]
        for row in rows
    )
    assert long == distilled
    assert epochs == [1, round((wide + cut) / long)]


def cell(row, accuracy, latency=None):
    figures = dict.fromkeys(compression.TABLE.columns)
    kinds = ("", "_int8")
    figures |= {f"accuracy{kind}": accuracy for kind in kinds}
    figures |= {f"latency{kind}": latency for kind in kinds}
    return {"row": row.key, "seed": 0, "figures": figures, "epochs": 30, "seconds_per_epoch": 1.0}


def picture(**accuracies):
    """The picture of rows that are given by their keys with underscores."""
    rows = {row.key.replace("-", "_"): row for row in compression.TABLE.rows}
    cells = {row.key: [] for row in rows.values()}
    for name, accuracy in accuracies.items():
        cells[rows[name].key] = [cell(rows[name], accuracy, latency=accuracy / 100)]
    figure = Figure()
    compression_picture.draw(figure, compression.TABLE, cells)
    return figure.axes


def test_the_names_of_many_rows_stand_in_the_legend():
    shape = "half_latency_chosen_shape"
    rows = {"width_1_scratch": 80.0, f"{shape}_inherited": 89.0, f"{shape}_scratch": 88.0}
    (axes,) = picture(width_2_scratch=90.0, **rows)
    kinds, dense = {"float32", "int8"}, ["dense, width 1", "dense, width 2"]
    assert {text.get_text() for text in axes.get_legend().get_texts()} == kinds
    beside = sorted(text.get_text() for text in axes.texts if text.get_text())
    assert beside == [
        "compressed to half latency",
        *dense,
        "that shape, from scratch (half latency)",
    ]
    more = {f"{shape}_inherited_full_rate": 89.5}
    (axes,) = picture(width_2_scratch=90.0, **rows, **more)
    assert sorted(text.get_text() for text in axes.texts if text.get_text()) == dense
    assert {text.get_text() for text in axes.get_legend().get_texts()} - kinds == {
        *("compressed to half latency", "compressed to half latency, full rate"),
        "that shape, from scratch (half latency)",
    }
    colours = {line.get_color() for line in axes.get_lines() if line.get_markersize() == 9}
    assert len(colours) == 3


def test_the_picture_has_a_curve_if_epochs_differ():
    shape = "half_latency_chosen_shape"
    given = {"width_2_scratch": 90.0, "width_1_scratch": 80.0, f"{shape}_inherited": 89.0}
    assert len(picture(**given)) == 1
    shorter = {f"{shape}_inherited_0": 50.0, f"{shape}_inherited_3": 85.0}
    _, axes = picture(**given, **shorter, **{f"{shape}_scratch_3": 60.0})
    curve, line = axes.get_lines()
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "3", "30"]
    np.testing.assert_array_equal(curve.get_xydata(), [[0, 50], [1, 85], [2, 89]])
    assert {*line.get_ydata()} == {90.0}
