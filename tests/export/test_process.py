"""Converters run in another process, whose death is an error of the model and no more."""

import os
import sys

import pytest

import export
from export.convert import litert, process

pytestmark = pytest.mark.tensorflow
CRASH = (
    "import os, signal, sys; sys.stdin.readline();"
    "print('said\\nINFO: of itself', file=sys.stderr, flush=True)"
)


@pytest.fixture
def program(monkeypatch):
    """Replaces the worker by a program."""
    worker = process.Worker()
    monkeypatch.setattr(litert, "WORKER", worker)

    def replace(text):
        command = [sys.executable, "-c", text]
        monkeypatch.setattr(process, "command", lambda module: command)

    yield replace
    worker.stop()


@pytest.mark.parametrize("signal_name", ["SIGSEGV", "SIGABRT"])
def test_a_crash_of_the_converter(signal_name, program, model, tmp_path):
    program(f"{CRASH}; os.kill(os.getpid(), signal.{signal_name})")
    reason = {"SIGSEGV": "Segmentation fault", "SIGABRT": "Aborted"}[signal_name]
    with pytest.raises(export.ExportError, match=f"'{model.name}' to float32 died: {reason}. said"):
        export.convert(model, tmp_path / "model.tflite")
    assert not os.listdir(tmp_path)


def test_the_next_conversion_has_a_new_process_and_ends_alone(program):
    program(f"{CRASH}; os.abort()")
    worker = process.Worker()
    with pytest.raises(process.WorkerDied, match="Aborted"):
        worker.ask(question=1)
    program("import sys\nfor line in sys.stdin: print(line, end='', flush=True)")
    assert worker.ask(question=2) == worker.ask(question=2) == {"question": 2}
    number = worker._process.pid
    worker.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_process_that_had_nothing_to_do_is_started_again(program, tmp_path):
    """It may end at the moment in which it is asked."""
    mark = tmp_path / "mark"
    program(
        "import pathlib, sys\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "if mark.exists(): print(sys.stdin.readline(), end='')\n"
        "mark.touch()"
    )
    assert process.Worker().ask(question=1) == {"question": 1}
