"""Notes that TensorFlow and LiteRT write to standard error are held back; errors are not."""

import contextlib
import os
import re
import sys
import tempfile

# Written by C++ code, so neither Python's `logging` nor its `sys.stderr` sees them.
_NOTE = re.compile(rb"(INFO|VERBOSE): |I\d{4} |WARNING: All log messages before absl::")


@contextlib.contextmanager
def quiet_import():
    """Hold back all that libraries write to standard error while they are imported.

    TensorFlow tells of the processor, and of GPUs that are not there, before any setting of its log
    is read. It is shown if the import fails.
    """
    # TensorFlow reads this when it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _held_back(lambda line: False):
        yield


def without_notes():
    """A context manager that holds back the notes of LiteRT and TensorFlow; all else is shown."""
    return _held_back(lambda line: not _NOTE.match(line))


@contextlib.contextmanager
def _held_back(shown):
    """Standard error of the process goes to a file; then the lines that are `shown` are written.

    All of it is written if an exception passes.
    """
    try:
        sys.stderr.flush()
        ordinary = os.dup(2)
    except (OSError, ValueError, AttributeError):  # there is none
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
