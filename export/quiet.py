"""Suppressing notes of TensorFlow and LiteRT on standard error; errors are still shown."""

import contextlib
import os
import re
import sys
import tempfile

# C++ code writes them, so Python's `logging` and `sys.stderr` do not see them.
_NOTE = re.compile(rb"(INFO|VERBOSE): |I\d{4} |WARNING: All log messages before absl::")


@contextlib.contextmanager
def quiet_import():
    """Suppress all output of libraries on standard error during their import.

    TensorFlow writes notes on the processor and missing GPUs before it reads settings of its log.
    The output is shown if the import fails.
    """
    # TensorFlow reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back(lambda line: False):
        yield


def without_notes():
    """A context manager that suppresses notes of LiteRT and TensorFlow, but nothing else."""
    return _held_back(lambda line: not _NOTE.match(line))


@contextlib.contextmanager
def _held_back(shown):
    """Redirects standard error to a file; at the end only the lines that are `shown` are written.

    After an exception everything is written.
    """
    try:
        sys.stderr.flush()
        ordinary = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            shown = bytes.__len__
            raise
        finally:
            os.dup2(ordinary, 2)
            held.seek(0)
            os.write(ordinary, b"".join(filter(shown, held)))
            os.close(ordinary)
