"""A process that runs a file under LiteRT for Microcontrollers."""

import contextlib
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

from export.child import how_it_ended
from export.errors import ExportError

_WORKER = pathlib.Path(__file__).with_name("worker.py")
INSTALL = "pip install 'keras-sparse[micro]'"


class RefusedError(ExportError):
    """The runtime does not load or run a file; `log` is its output."""

    def __init__(self, message, log):
        super().__init__(message)
        self.log = log


def check_installed():
    """Raises an `ExportError` if the runtime is not installed."""
    if importlib.util.find_spec("tflite_micro") is None:
        raise ExportError(
            "LiteRT for Microcontrollers is not installed: it is the package `tflite-micro`, of "
            f"which there are pre-releases only. {INSTALL}"
        )


class Runtime:
    """Answers questions about one file, in a process that may end at any question.

    Args:
        path: a `.tflite` file.
    """

    def __init__(self, path):
        check_installed()
        self._path = path
        self._log = None
        self._process = None

    def __enter__(self):
        self._log = tempfile.TemporaryFile("w+b")
        return self

    def __exit__(self, *_):
        self._stop()
        self._log.close()

    def ask(self, **question):
        """Asks a question; returns the runtime's output meanwhile; see `worker`.

        Raises:
            RefusedError: the runtime refuses, or its process has ended.
        """
        if self._process is None:
            self._start()
        return self._answer(json.dumps(question))

    def _start(self):
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(self._path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._answer(None)

    def _answer(self, question):
        start = self._log.seek(0, 2)
        answer = ""
        try:
            if question is not None:
                self._process.stdin.write(question + "\n")
                self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            pass
        if not answer:
            code = self._stop()
            log = self._printed(start)
            raise RefusedError(
                f"{self._path} ends the process of LiteRT for Microcontrollers: "
                f"{how_it_ended(code, log)}",
                log,
            )
        log = self._printed(start)
        error = json.loads(answer).get("error")
        if error:
            lines = [line for line in log.splitlines() if line.strip()]
            raise RefusedError(
                f"LiteRT for Microcontrollers does not run {self._path}: {error}. "
                + " ".join([*lines[-3:], *_advice(log)]),
                log,
            )
        return log

    def _printed(self, start):
        self._log.seek(start)
        return self._log.read().decode(errors="replace")

    def _stop(self):
        if self._process is None:
            return 0
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        code = self._process.wait()
        self._process = None
        return code


def _advice(log):
    """What to do about an operator that refuses its tensors."""
    if "filter type: INT8 not supported" in log:
        yield (
            "The file has weights in int8 and activations in floats. Convert with quantize='int8', "
            "or without `quantize`."
        )
    elif "failed to prepare" in log or "failed to invoke" in log:
        yield (
            "The runtime has the operator, but not for these tensors. Use another layer, or "
            "convert without `quantize` if it is one for floats."
        )
