"""Running modules of this package in separate processes."""

import os
import pathlib
import re
import signal
import sys

_ROOT = pathlib.Path(__file__).parents[1]
# Log messages of TensorFlow and LiteRT, and the names of nodes below an error of TensorFlow.
_NOTE = re.compile(r"INFO|WARNING|[IW]\d{4} |\s*\[\[")
# The line of a traceback with the error. TensorFlow's message stands below its first line.
_ERROR = re.compile(r"[\w.]*(Error|Exception): (?!Graph execution error)")


def command(module, *arguments):
    """The command that runs a module with the same Python."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def environment(**variables):
    """This process' environment plus `variables`, in which Python finds the module."""
    python_path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": python_path, **variables}


def how_it_ended(code, log):
    """Why a process ended, and the last error in its log, or else the last line.

    Args:
        code: its `returncode`.
        log: its output on stderr.
    """
    reason = signal.strsignal(-code) if code < 0 else f"exit status {code}"
    lines = [line for line in log.splitlines() if line and not _NOTE.match(line)]
    errors = [line for line in lines if _ERROR.match(line)] if code > 0 else []
    last = (errors or lines)[-1].strip() if lines else None
    return f"{reason}. {last}" if last else reason
