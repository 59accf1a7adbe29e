"""The program as a person starts it: in this process, and by -m slow from the shell."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec

import keras
import pytest

import keras_sparse  # noqa: F401 registers what the saved models name
from apps.training import run as training
from tests.in_process import run_program

pytestmark = pytest.mark.tensorflow
FILES = {
    *(f"{n}{e}" for n in ("dense", "model", "compact") for e in (".keras", ".tflite")),
    *("history.csv", "dense_history.csv", "report.json", "report.md", "accuracy.png"),
    *("channels.png", *(["report.html"] if find_spec("jinja2") else [])),
}


def start(*arguments, **options):
    command = [sys.executable, "-m", "apps.train", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def run(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "new" / "folder"
    arguments = ("--epochs=3", "--target_sparsity=0.7", "--batch_size=64")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert run_program("apps.train", *arguments, f"--out={folder}") is None
    return folder, out.getvalue()


def test_writes_every_file_and_nothing_else(finished):
    assert {path.name for path in finished[0].iterdir()} == FILES


def test_report_holds_what_was_measured(finished):
    folder, _ = finished
    report = json.loads((folder / "report.json").read_text())
    for name in ("dense", "model", "compact"):
        part = report["trained" if name == "model" else name]
        model = keras.saving.load_model(folder / f"{name}.keras")
        assert part["parameters"] == model.count_params()
        assert part["tflite_bytes"] == (folder / f"{name}.tflite").stat().st_size
        assert part["latency_ms_median"] >= part["latency_ms_min"] > 0
        assert part["macs"] > 0
        assert 0 <= part["tflite_max_abs_error"] < 1e-3
        assert 0 <= part["accuracy"] <= 1
    assert report["compact"]["parameters"] < report["trained"]["parameters"]
    assert report["surgery_max_abs_error"] <= 1e-4 * report["outputs_scale"]
    assert report["same_predictions"] == 1
    zeros = [
        keras.ops.convert_to_numpy(w)
        for w in keras.saving.load_model(folder / "model.keras").weights
    ]
    zeros = [w for w in zeros if w.ndim > 1]
    share = sum((w == 0).sum() for w in zeros) / sum(w.size for w in zeros)
    assert report["sparsity"] == pytest.approx(share)
    assert report["channels"]["conv3"][1] < report["channels"]["conv3"][0] == 64
    assert report["seed"] == 0
    assert "--target_sparsity=0.7" in report["command"]
    assert {"keras", "tensorflow", "python"} <= set(report["versions"])


def test_prints_one_table_and_progress(finished):
    folder, out = finished
    assert "Training the same network dense, with adam" in out
    assert ": inf" not in out.partition("Everything is in")[0]
    assert max(map(len, out.partition("The networks")[2].splitlines())) <= 80
    assert "report." in out.replace("\n", "").partition(f"Everything is in {folder}.")[2]
    assert out.count("test accuracy") == 1
    assert "Epoch 3/3" in out
    assert re.search(r"zero_channels: \d+", out)
    assert "sparsity/" not in out


def test_history_has_a_row_for_each_epoch(finished):
    lines = (finished[0] / "history.csv").read_text().splitlines()
    assert len(lines) == 4
    names = {"epoch", "sparsity", "zero_channels", "val_accuracy"}
    assert names | {"images_per_second", "peak_memory_mib"} <= set(lines[0].split(","))


@pytest.mark.slow
def test_bad_input_is_one_line_and_status_1_from_the_shell(tmp_path):
    code, stdout, err = run("--model=lenet_5", f"--out={tmp_path}")  # told with Keras imported
    # TensorFlow itself may say a word on the machine.
    told = [line for line in err.splitlines() if not re.match(r"[IWE]0000|WARNING: All log", line)]
    assert code == 1
    assert len(told) == 1, err
    assert "at least 16x16" in told[0]
    assert not stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=lenet_5"], "at least 16x16"),  # told with Keras imported
        (["--l1=-1"], "--l1=-1: -1.0 is not a finite number, 0 or more"),
        (["--epochs=many"], "flag --epochs=many"),
        (["--optimizer=lion"], "one of <rda|grda|"),
        (["--flagfile=nowhere"], "nowhere"),
        (["--epoch=3"], "flag 'epoch'"),
        (["digits"], "'digits'"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, message, tmp_path, capsys):
    assert run_program("apps.train", *arguments, f"--out={tmp_path}") == 1
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1


def test_help_is_grouped(capsys):
    assert run_program("apps.train", "--help") == 0
    out = capsys.readouterr().out
    groups = ["data:", "network:", "optimizer:", "learning rate:", "training:", "output:"]
    positions = [out.index(f"\n{group}") for group in groups]
    assert positions == sorted(positions)
    assert "--l1" in out
    assert "--flagfile" in out


class TerminateInEpoch2(keras.callbacks.Callback):
    """Sends SIGTERM to this process in the midst of the second epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2 and self.model.optimizer.iterations > 5:
            os.kill(os.getpid(), signal.SIGTERM)


def test_terminated_leaves_no_half_file(tmp_path, monkeypatch, capsys):
    prepare = training.prepare

    def prepared(values):
        made = prepare(values)
        made.callbacks.append(TerminateInEpoch2())
        return made

    monkeypatch.setattr(training, "prepare", prepared)
    small = ("--epochs=9", "--train_images=80", "--test_images=40", "--batch_size=16")
    assert run_program("apps.train", *small, f"--out={tmp_path}") == 143
    assert "Terminated: The same command starts from the beginning" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 2
    assert len({row.count(",") for row in rows}) == 1


@pytest.mark.slow
@pytest.mark.integration
def test_terminated_from_the_shell(tmp_path):
    process = start("--epochs=1000", f"--out={tmp_path}", start_new_session=True)
    for line in process.stdout:
        if "Epoch 2/" in line:
            break
    os.killpg(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Terminated: The same command starts from the beginning" in err
    assert "I0000" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
