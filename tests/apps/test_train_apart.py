"""Trainings that are killed, and trainings on two devices and in two processes."""

import csv
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from apps import program
from apps.training import outputs, run
from tests.killing import AfterSteps, KilledError

from .flag_values import SMALL, configured, train_small, weights

tensorflow = pytest.mark.tensorflow
integration = pytest.mark.integration
ARGUMENTS = (
    "--epochs=3",
    "--optimizer=static",
    "--learning_rate=0.1",
    "--schedule=cosine",
    "--resume",
)
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
# What a clock and a process decide.
_MEASURED = {"images_per_second", "peak_memory_mib"}


def start(module, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err[-3000:]


def table(out):
    with open(out / "history.csv", encoding="utf-8") as file:
        return [
            {name: value for name, value in row.items() if name not in _MEASURED}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    return out, train_small(out, *ARGUMENTS)


def died(tmp_path):
    """An exception in the midst of the second epoch, which leaves what a kill leaves."""

    def die():
        raise KilledError

    training = run.prepare(configured(f"--out={tmp_path}", *SMALL, *ARGUMENTS))
    training.callbacks.append(AfterSteps(7, die))
    with pytest.raises(KilledError):
        training.run("a command")


def killed(tmp_path):
    """SIGKILL, which gives a process no chance to write anything."""
    code, said = finish(start("tests.apps.train_alone", str(tmp_path), "7", *ARGUMENTS))
    assert code == -signal.SIGKILL, said


@tensorflow
@pytest.mark.parametrize("end", [died, pytest.param(killed, marks=[integration, pytest.mark.slow])])
def test_killed_and_resumed_is_never_killed(end, whole, tmp_path):
    end(tmp_path)
    assert len(table(tmp_path)) == 1
    for a, b in zip(train_small(tmp_path, *ARGUMENTS), whole[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert table(tmp_path) == table(whole[0])


@tensorflow
def test_a_baseline_that_was_killed_goes_on(whole, tmp_path, monkeypatch):
    arguments = (*ARGUMENTS, "--baseline")
    train_small(tmp_path / "whole", *arguments)
    ordinary = outputs.HistoryWriter.on_epoch_end

    def interrupted(self, epoch, logs=None):
        ordinary(self, epoch, logs)
        if self._path.name == "dense_history.csv":
            raise KeyboardInterrupt

    monkeypatch.setattr(outputs.HistoryWriter, "on_epoch_end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_small(tmp_path / "run", *arguments)
    monkeypatch.undo()
    for a, b in zip(train_small(tmp_path / "run", *arguments), whole[1], strict=True):
        np.testing.assert_array_equal(a, b)
    dense = [keras.saving.load_model(tmp_path / name / "dense.keras") for name in ("run", "whole")]
    for a, b in zip(*(model.get_weights() for model in dense), strict=True):
        np.testing.assert_array_equal(a, b)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert 0 < report["dense"]["accuracy"] <= 1


@tensorflow
def test_a_finished_run_is_delivered_again(whole):
    out, before = whole
    (out / "model.keras").unlink()
    for a, b in zip(train_small(out, *ARGUMENTS), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(table(out)) == 3


def of_earlier_version(folder, **changes):
    """Give an unfinished run the settings of a version that stored only the given flags."""
    file = folder / "checkpoint" / "state.json"
    settings = json.loads((FIXTURES / "train_settings_0_1.json").read_text()) | changes
    file.write_text(json.dumps(json.loads(file.read_text()) | {"settings": settings}))


@tensorflow
def test_a_run_of_an_earlier_version_goes_on(whole, tmp_path, capsys):
    died(tmp_path)
    of_earlier_version(tmp_path)
    resumed = train_small(tmp_path, *ARGUMENTS)
    assert "An earlier version started this run." in capsys.readouterr().out
    for a, b in zip(resumed, whole[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert "version" in json.loads((tmp_path / "checkpoint" / "state.json").read_text())["settings"]


@tensorflow
def test_a_run_of_an_earlier_version_with_other_defaults_is_refused(tmp_path):
    died(tmp_path)
    of_earlier_version(tmp_path, optimizer="set")
    with pytest.raises(program.UsageError, match=r"started with optimizer=set, .*, not optimizer="):
        train_small(tmp_path, *ARGUMENTS)


def check_two_devices(tmp_path, strategy):
    arguments = ("--epochs=2", "--optimizer=sgd", "--learning_rate=0.1")
    one = train_small(tmp_path / "one", *arguments, "--resume")
    shared = train_small(tmp_path / "two", *arguments, f"--strategy={strategy}")
    for a, b in zip(one, shared, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
@tensorflow
def test_two_devices(mirrored, tmp_path, monkeypatch):
    def made(devices):
        assert [name[-5:] for name in devices] == ["CPU:0", "CPU:1"]
        return mirrored

    monkeypatch.setattr("tensorflow.distribute.MirroredStrategy", made)
    check_two_devices(tmp_path, "mirrored")


@pytest.mark.jax
def test_two_devices_on_jax(tmp_path):
    check_two_devices(tmp_path, "data_parallel")


def free_ports(count):
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


@pytest.mark.slow
@integration
@tensorflow
def test_two_workers_on_loopback(whole, tmp_path):
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        out = f"--out={tmp_path / str(index)}"
        arguments = (*SMALL, *ARGUMENTS, "--strategy=multi_worker", out)
        processes.append(start("apps.train", *arguments, TF_CONFIG=json.dumps(task)))
    for process in processes:
        code, said = finish(process)
        assert code == 0, said
    assert [path.name for path in tmp_path.iterdir()] == ["0"]  # the chief alone writes
    for a, b in zip(weights(tmp_path / "0"), whole[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@tensorflow
@pytest.mark.parametrize("text", ["", "{", '{"cluster": {}}', '{"cluster": {}, "task": 3}'])
def test_a_cluster_that_is_not_described(text, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(program.UsageError, match="TF_CONFIG"):
        train_small(tmp_path, "--strategy=multi_worker")
