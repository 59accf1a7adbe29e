"""What the programs of this package share; none of it waits for Keras."""

import contextlib
import os
import pathlib
import signal
import sys

from absl import app, flags


def run(name, main):
    """Parses the flags and runs a program.

    Wrong flags, files that cannot be read or written and a full disk end it with one line.

    Args:
        name: of the program, for that line: `"export.convert"`.
        main: function of the arguments that are no flags, the program's name first.
    """
    try:
        app.run(main, flags_parser=lambda argv: _parse(name, argv))
    except OSError as error:
        sys.exit(f"{name}: {error}")


def _parse(name, argv):
    try:
        return flags.FLAGS(argv)
    except (flags.Error, UnicodeError) as error:  # a file of flags that is no text
        sys.exit(f"{name}: {' '.join(str(error).split())} (--help shows the flags)")


def output(path):
    """A context manager: the file to write in the place of `path`, None where that is empty."""
    if not path:
        return contextlib.nullcontext()
    # Imports Keras, which a run without files need not wait for.
    from keras_sparse.files import replacing

    return replacing(path)


def check_files(source, target, samples=None):
    """A ValueError about files that cannot be right, before Keras is imported.

    Args:
        source: the model's file.
        target: the file to write.
        samples: a file with samples, or None.
    """
    for path in filter(None, (source, samples)):
        if not os.path.exists(path):
            raise ValueError(f"There is no such file. Received: path={path}")
    if pathlib.Path(target).suffix != ".tflite":
        raise ValueError(f"`path` must end in '.tflite'. Received: path={target}")
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK) or os.path.isdir(target):
        raise ValueError(
            f"`path` cannot be written: give a file in a folder that exists and may be written. "
            f"Received: path={target}"
        )


def clean_up_when_terminated():
    """Lets SIGTERM end the program as an exit does, so that no half-written file stays."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
