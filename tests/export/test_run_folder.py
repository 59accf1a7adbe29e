"""From a trained model to a folder; the program around it is tested from the shell."""

import html.parser
import json

import keras
import numpy as np
import pytest
from keras import layers

from export import run_folder
from export.report import read_runs

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def delivered(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", name="hidden"),
            layers.Dense(3, name="logits"),
        ]
    )
    kernel = keras.ops.convert_to_numpy(model.get_layer("hidden").kernel).copy()
    kernel[:, [1, 4, 5]] = 0
    model.get_layer("hidden").kernel.assign(kernel)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)).astype("float32")
    y = model.predict(x, verbose=0).argmax(-1)
    y[:5] = (y[:5] + 1) % 3  # five of fifty are wrong
    dense = keras.models.clone_model(model)
    folder = run_folder.prepare(tmp_path_factory.mktemp("run"))
    facts = {"dataset": "points", "model": "tiny", "seed": 7, "command": "python -m apps.train"}
    history = {"accuracy": [0.5, 0.9], "sparsity": [0.0, 0.25]}
    report = run_folder.deliver(
        model,
        history,
        run_folder.TestSet(x, y),
        folder,
        facts,
        quantize=("int8",),
        x_train=x,
        dense=(dense, {"val_accuracy": [0.6, 0.95]}),
    )
    return report, folder


def test_report_is_what_can_be_counted_by_hand(delivered):
    report, _ = delivered
    assert report["sparsity"] == pytest.approx(18 / 72)
    assert report["prunable_weights"] == 72
    assert report["channels"] == {"hidden": [8, 5], "logits": [3, 3]}
    assert report["trained"]["parameters"] == 6 * 8 + 8 + 8 * 3 + 3
    assert report["compact"]["parameters"] == 6 * 5 + 5 + 5 * 3 + 3
    assert (report["trained"]["macs"], report["compact"]["macs"]) == (72, 45)
    assert report["trained"]["accuracy"] == report["compact"]["accuracy"] == 0.9
    assert report["same_predictions"] == 1
    assert report["surgery_max_abs_error"] < 1e-6 < report["outputs_scale"]
    assert (report["seed"], report["test_images"]) == (7, 50)


def test_files_say_the_same(delivered):
    report, folder = delivered
    assert json.loads((folder / "report.json").read_text()) == json.loads(json.dumps(report))
    text = (folder / "report.md").read_text()
    assert "| | dense | sparse | compact | ratio |" in text
    assert "| parameters | 83 | 83 | 53 | 0.639 |" in text
    assert "| hidden | 8 | 5 |" in text
    history = (folder / "history.csv").read_text().split()
    assert history == ["epoch,accuracy,sparsity", "1,0.5,0.0", "2,0.9,0.25"]
    for name in ("accuracy", "channels"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_every_kind_before_and_after_surgery(delivered):
    report, folder = delivered
    rows = {row["file"]: row for row in report["files"]}
    names = ("dense", "model", "compact")
    assert list(rows) == [f"{name}{k}.tflite" for k in ("", "-int8") for name in names]
    for name, row in rows.items():
        assert row["bytes"] == (folder / name).stat().st_size
        assert row["samples"] == 50
        accuracy = report["dense"]["accuracy"] if "dense" in name else 0.9
        assert row["keras_accuracy"] == pytest.approx(accuracy)
        assert row["accuracy"] == pytest.approx(accuracy, abs=0.1)
        assert row["latency_ratio"] > 0
        assert row["macs_ratio"] == pytest.approx(45 / 72 if "compact" in name else 1)
        assert (
            f"| {name} | {row['bytes']:,} | {row['gzip_bytes']:,} |"
            in (folder / "report.md").read_text()
        )
    assert rows["model.tflite"]["max_abs_error"] < 1e-5 < rows["model-int8.tflite"]["max_abs_error"]


def test_the_run_is_read_again(delivered):
    report, folder = delivered
    [run] = read_runs([folder])
    assert run.title == "tiny on points"
    assert [(row.network, row.kind) for row in run.rows] == [
        (name, kind) for name in ("dense", "sparse", "compact") for kind in ("float32", "int8")
    ]
    assert [row.bytes for row in run.rows[::2]] == [row["bytes"] for row in report["files"][:3]]
    assert run.rows[-1].latency_ms == report["files"][-1]["latency_ms_min"]


class Reader(html.parser.HTMLParser):
    """The text of a page, and what it would load."""

    def __init__(self, page):
        super().__init__()
        self.text, self.loads, self.tags = [], [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.text += [data.strip()]


def test_the_page_has_the_figures_and_loads_nothing(delivered):
    pytest.importorskip("jinja2")
    report, folder = delivered
    page = Reader((folder / "report.html").read_text())
    assert "script" not in page.tags
    assert all(value.startswith(("#", "data:")) for value in page.loads)
    figures = ("dense", "sparse", "compact", "ratio", "accuracy", "latency, ms (fastest)")
    assert {*figures, *map(str, report["channels"]["hidden"])} <= set(page.text)
    for name in ("dense", "trained", "compact"):
        own = report[name]
        assert f"{own['accuracy']:.4f}" in page.text
        assert f"{own['latency_ms_min']:.4f}" in page.text
        assert {f"{own[key]:,}" for key in ("parameters", "macs", "tflite_bytes")} < set(page.text)
    assert {row["file"] for row in report["files"]} < set(page.text)
    assert report["command"] in page.text
    for group in report["surgery"]["dead_kept"]:
        assert group["reason"] in page.text


def test_prepare_refuses_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="`out` cannot be written"):
        run_folder.prepare(tmp_path / "file" / "run")
