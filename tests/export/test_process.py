"""Converters run in another process, whose death is an error of the model and no more."""

import os
import sys

import pytest

import export
from export.child import how_it_ended
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


TENSORFLOW = """Traceback (most recent call last):
  File "worker.py", line 1, in main
tensorflow.python.framework.errors_impl.InvalidArgumentError: Graph execution error:

Detected at node loss/Cast defined at (most recent call last):
<stack traces unavailable>
Received a label value of 8 which is outside the valid range of [0, 4).  Label values: 2 8
\t [[{{node loss/Cast}}]] [Op:__inference_train_function_862]
"""
PYTHON = """Traceback (most recent call last):
  File "worker.py", line 1, in main
ValueError: the shapes differ
  first: (3,)
  second: (4,)
"""


@pytest.mark.parametrize(
    ("code", "log", "told"),
    [
        (1, TENSORFLOW, "exit status 1. Received a label value of 8 which is outside"),
        (1, PYTHON, "exit status 1. ValueError: the shapes differ"),
        (1, f"{PYTHON}RuntimeError: later\n", "exit status 1. RuntimeError: later"),
        (-6, f"{PYTHON}F0000 check failed\n", "Aborted. F0000 check failed"),
        (3, "out of luck\n", "exit status 3. out of luck"),
        (3, "", "exit status 3"),
    ],
)
def test_how_a_process_ended_names_its_error(code, log, told):
    assert how_it_ended(code, log).startswith(told)
