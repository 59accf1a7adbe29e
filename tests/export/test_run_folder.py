"""From a trained model to a folder; the program around it is tested from the shell."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from export import run_folder

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
    folder = run_folder.prepare(tmp_path_factory.mktemp("run"))
    facts = {"dataset": "points", "model": "tiny", "seed": 7, "command": "python -m apps.train"}
    history = {"accuracy": [0.5, 0.9], "sparsity": [0.0, 0.25]}
    report = run_folder.deliver(
        model,
        history,
        run_folder.TestSet(x, y),
        folder,
        facts,
        quantize=("int8", "float16"),
        x_train=x,
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
    assert "| parameters | 83 | 53 | 0.639 |" in text
    assert "| hidden | 8 | 5 |" in text
    history = (folder / "history.csv").read_text().split()
    assert history == ["epoch,accuracy,sparsity", "1,0.5,0.0", "2,0.9,0.25"]
    for name in ("accuracy", "channels"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_rows_of_every_kind_before_and_after_surgery(delivered):
    report, folder = delivered
    rows = {row["file"]: row for row in report["files"]}
    kinds = ("", "-int8", "-float16")
    assert list(rows) == [f"{name}{k}.tflite" for k in kinds for name in ("model", "compact")]
    for name, row in rows.items():
        assert row["bytes"] == (folder / name).stat().st_size
        assert row["samples"] == 50
        assert row["keras_accuracy"] == 0.9
        assert row["accuracy"] == pytest.approx(0.9, abs=0.1)
        assert row["latency_ratio"] > 0
        assert row["macs_ratio"] == pytest.approx(45 / 72 if "compact" in name else 1)
        assert (
            f"| {name} | {row['bytes']:,} | {row['gzip_bytes']:,} |"
            in (folder / "report.md").read_text()
        )
    assert rows["model.tflite"]["max_abs_error"] < 1e-5 < rows["model-int8.tflite"]["max_abs_error"]


def test_prepare_refuses_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="`out` cannot be written"):
        run_folder.prepare(tmp_path / "file" / "run")
