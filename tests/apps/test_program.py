"""How programs end: one line and a status for what a person or the machine caused."""

import errno
import gc
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from apps import program, reproduce, train
from apps.training.flags import GROUPS, define
from export import command_line
from keras_sparse.files import UnwritableError


def ended(error, capsys):
    """What a program that meets an error writes, and its status."""

    def main():
        raise error

    with pytest.raises(SystemExit) as end, program.one_line(lambda: "Continue."):
        main()
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err, end.value.code


class ResourceExhaustedError(Exception):
    """As TensorFlow names it."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (program.UsageError("--x must\n be 1."), "--x must be 1."),
        (OSError(errno.ENOSPC, "No space left on device", "a.csv"), "No space left on device: a"),
        (OSError("Can't write data (file write failed)"), "file write failed"),
        (UnwritableError("`path` is a folder; give"), "`path` is a folder; give"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe."),
        (FileExistsError(errno.EEXIST, "File exists", "checkpoint"), "File exists: checkpoint"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "invalid start byte"),
        (OverflowError("int too large to convert"), "A number is too large: int too large"),
        (ModuleNotFoundError("No module named 'torch'"), "No module named 'torch': install it"),
        (MemoryError(), "Too little memory: no memory is left. Take a smaller network"),
        (ResourceExhaustedError("OOM when allocating\ntrace"), "memory: OOM when allocating. Take"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "Too little memory: RESOURCE_EXH"),
        (
            RuntimeError("{{function_node x}} Unknown image\n [[{{y}}]] [Op:IteratorGetNext]"),
            "An image cannot be read: Unknown image. `keras_sparse.data.ImageFolder",
        ),
        (RuntimeError("w.tmp; No space left on device"), "No space left on device."),
        (RuntimeError("Encountered overflow when multiplying 3 with 9"), "Give smaller sizes"),
    ],
    ids=repr,
)
def test_one_line_and_status_1(error, message, capsys):
    err, status = ended(error, capsys)
    assert message in err
    assert status == 1


def test_one_line_for_ctrl_c(capsys):
    err, status = ended(KeyboardInterrupt(), capsys)
    assert "Interrupted: Continue. The files that were finished are whole" in err
    assert status == 130


def test_a_fault_of_the_program_is_shown_whole():
    with pytest.raises(RuntimeError, match="a fault"), program.one_line():
        raise RuntimeError("a fault")


def test_sigterm_cleans_up_and_is_told(capsys):
    before, cleaned = signal.getsignal(signal.SIGTERM), []

    def main():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            cleaned.append(True)

    with pytest.raises(SystemExit) as end, program.one_line(lambda: "Continue."):
        main()
    assert end.value.code == 143
    assert capsys.readouterr().err.startswith("Terminated: Continue. ")
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_signal_in_a_callback_of_the_garbage_collector_is_not_lost(number, status, capsys):
    """What is raised there is dropped by Python: JAX has such a callback."""
    hook, sent = sys.unraisablehook, []

    def callback(phase, info):
        if not sent:
            sent.append(number)
            os.kill(os.getpid(), number)

    def main():
        gc.collect()
        time.sleep(5)

    gc.callbacks.append(callback)
    try:
        with pytest.raises(SystemExit) as end, program.one_line():
            main()
    finally:
        gc.callbacks.remove(callback)
    assert end.value.code == status
    assert capsys.readouterr().err.count("\n") == 1
    assert sys.unraisablehook is hook


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "x", "", "1", "0", "-1", "3"])
def test_numbers_are_finite_and_between_their_bounds(text):
    for bounds, fits in (
        ({}, math.isfinite),
        ({"above": 0.0}, lambda x: 0 < x < math.inf),
        ({"lower_bound": 0.0, "below": 1.0}, lambda x: 0 <= x < 1),
        ({"above": 0.5, "upper_bound": 1.0}, lambda x: 0.5 < x <= 1),
    ):
        values = flags.FlagValues()
        program.define_number("x", None, "A number.", flag_values=values, **bounds)
        try:
            wanted = float(text) if fits(float(text)) else None
        except ValueError:
            wanted = None
        if wanted is None:
            with pytest.raises(flags.Error, match="--x="):
                values(["program", f"--x={text}"])
        else:
            values(["program", f"--x={text}"])
            assert values.x == wanted


# Without Keras, whose import takes seconds: (program, flags, what is told).
TOLD_WITHOUT_KERAS = [
    ("train", ["--help"], "--flagfile"),
    ("train", ["--width=inf"], "flag --width=inf: inf is not a finite number, above 0"),
    ("train", ["--batch_size=99999999999999999999"], "integer in the range [1, 2147483647]"),
    ("train", ["--optimizer=sgd", "--target_sparsity=0.9"], "--target_sparsity is for"),
    ("train", ["--target_sparsity=0.9", "--variant=published"], "needs variant='accumulated'"),
    ("train", ["--quantize=int4"], "--quantize must be any of"),
    ("train", ["--dataset=mnist", "--data_dir=nowhere"], "There is no file nowhere/mnist.npz"),
    ("train", ["--dataset=imagenet", "--data_dir=nowhere"], "--data_dir must be a folder"),
    ("train", ["--flagfile=random"], "no UTF-8 text"),
    ("train", ["--flagfile=nul"], "embedded null"),
    ("train", ["--flagfile=nowhere"], "nowhere"),
    ("train", ["--flagfile=folder"], "folder"),
    ("train", ["--out=\udcff"], "no UTF-8 text"),
    ("train", ["--out=random"], "--out=random cannot be written"),
    ("train", ["--out=folder"], "has a folder history.csv, where a file must go"),
    ("train", ["--out=taken"], "has a file checkpoint, where a folder must go"),
    ("train", ["--stages=1,nan", "--schedule=staged"], "nan is not a finite number"),
    (
        "train",
        ["--strategy=multi_worker", "--tensorboard", "--optimizer=sgd"],
        "--tensorboard must be omitted with --strategy=multi_worker",
    ),
    ("train", ["--stop"], "'stop'"),
    ("train", ["stop"], "Unknown argument 'stop'"),
    ("reproduce", ["--help"], "--flagfile"),
    ("reproduce", ["--table=lion"], "--table must be one of"),
    ("reproduce", ["--table=implicit_mnist", "--data_dir=nowhere"], "There is no file nowhere/mn"),
    ("reproduce", ["--table=implicit_mnist", "--rows=("], "no regular expression"),
    ("reproduce", ["--table=implicit_mnist", "--out=taken"], "has a file cells"),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "random").write_bytes(bytes(range(255, 0, -1)))
    (tmp_path / "nul").write_bytes(b"--out=a\0b")
    (tmp_path / "folder" / "history.csv").mkdir(parents=True)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "checkpoint").touch()
    (tmp_path / "taken" / "cells").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("name", "arguments", "message"), TOLD_WITHOUT_KERAS, ids=str)
def test_told_before_keras_is_imported(name, arguments, message, folder, monkeypatch, capsys):
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    if name == "train":
        main, groups = train.main, GROUPS
        define(flags, values)
    else:
        main, groups = reproduce.main, reproduce.GROUP_NAMES
        reproduce.define_flags(values)
    # What comes after the checks is not there, with Keras.
    for package, module in (("apps.training", "run"), ("apps.tables", "engine")):
        monkeypatch.setitem(sys.modules, f"{package}.{module}", None)
        monkeypatch.delattr(f"{package}.{module}", raising=False)
    before = sorted(folder.rglob("*"))

    def called():
        program.parse([name, *arguments], "What it does.", groups)
        main(values)

    with pytest.raises(SystemExit) as end, program.one_line():
        called()
    out, err = capsys.readouterr()
    helped = arguments == ["--help"]
    assert (end.value.code or 0) == (0 if helped else 1)
    assert message in (out if helped else err)
    assert err.count("\n") == (0 if helped else 1)
    assert sorted(folder.rglob("*")) == before


def test_programs_begin_without_keras():
    code = "import sys, apps.train, apps.reproduce; sys.exit('keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("parse", [program.parse, lambda argv, *_: command_line._parse("x", argv)])
def test_the_home_folder_in_a_flag(parse, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    values = flags.FlagValues()
    for name in ("out", "data", "other"):
        flags.DEFINE_string(name, None, "A path.", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    parse(["program", "--out=~/runs", "--data=a~b"], "A program.", [])
    assert (values.out, values.data, values.other) == (f"{tmp_path}/runs", "a~b", None)
