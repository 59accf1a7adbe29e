"""The comparison of `export.arm`; a script that runs this Python stands for the emulator."""

import os
import sys

import numpy as np
import pytest

from export import ExportError
from export.arm import check_on_arm
from export.arm.check import _difference
from tests.export.tflite_file import write_dense

# Drops qemu's own options and ARM's Python, as which this one runs.
EMULATOR = """#!/bin/sh
while [ "${1##*/}" != python3.11 ]; do shift; done; shift
%s
"""
RUN = f'exec {sys.executable} -P "$@"'


@pytest.fixture
def weights():
    return np.random.default_rng(2).normal(size=(6, 8))


@pytest.fixture
def model(tmp_path, weights):
    return write_dense(tmp_path / "model.tflite", 8, 6, weights)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder as prepare.sh makes it, and an emulator on the PATH; `.emulate` sets its script."""
    python = tmp_path / "root" / "usr" / "bin" / "python3.11"
    python.parent.mkdir(parents=True)
    python.touch()
    emulator = tmp_path / "bin" / "qemu-aarch64-static"
    emulator.parent.mkdir()
    monkeypatch.setenv("PATH", str(emulator.parent), prepend=os.pathsep)

    def emulate(script):
        emulator.write_text(EMULATOR % script)
        emulator.chmod(0o755)
        return tmp_path / "root"

    return emulate


def test_equal_outputs(model, root):
    [check] = check_on_arm([model], root(RUN))
    assert (check.path, check.max_abs_error, check.max_relative_error) == (model, 0, 0)
    assert any("Fully Connected" in operator.name for operator in check.operators)
    assert not check.sparse


def test_other_outputs(model, root, tmp_path, weights):
    weights[0, 0] += 1
    other = write_dense(tmp_path / "other.tflite", 8, 6, weights)
    swap = f'script=$1; shift 2; exec {sys.executable} -P "$script" {other} "$@"'
    with pytest.raises(ExportError, match=r"model\.tflite gives other outputs on ARM: they differ"):
        check_on_arm([model], root(swap))
    assert check_on_arm([model], root(swap), tolerance=1e9)[0].max_abs_error > 0


def test_a_crash_there(model, root):
    with pytest.raises(ExportError, match=r"model\.tflite does not run on arm: Segmentation fault"):
        check_on_arm([model], root("kill -SEGV $$"))


def test_a_file_that_is_refused(root, tmp_path):
    path = tmp_path / "text.tflite"
    path.write_text("not a model")
    with pytest.raises(ExportError, match=r"LiteRT does not load .*text\.tflite"):
        check_on_arm([path], root(RUN))


def test_what_is_missing(model, root, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"make it with export/arm/prepare\.sh"):
        check_on_arm([model], tmp_path)
    with pytest.raises(ValueError, match="names a file that does not exist"):
        check_on_arm(["absent.tflite"], root(RUN))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match="There is no `qemu-aarch64-static`"):
        check_on_arm([model], tmp_path / "root")


def test_a_nan_is_never_small():
    host = {"0": np.array([1.0, np.nan]), "1": np.array([1.0])}
    assert np.isnan(_difference(host, host)).all()
    arm = {"0": np.array([1.0, 2.0]), "1": np.array([3.0])}
    assert np.isnan(_difference({"0": arm["0"]}, {"0": host["0"]})).all()
    assert _difference({"1": host["1"]}, {"1": arm["1"]}) == (2, 2)
