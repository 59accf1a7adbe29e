"""Checks of the arguments of programs that take TFLite files."""

import os
import pathlib

from export.command_line import KERAS_FILE


def check_paths(paths):
    """The files as a list of text.

    Raises:
        ValueError: there is none, one does not exist, or one is a Keras model.
    """
    if isinstance(paths, (str, os.PathLike)) or not paths:
        raise ValueError(f"`paths` must be a list of one or more files. Received: paths={paths!r}")
    for path in paths:
        check_file("paths", path)
        with open(path, "rb") as file:
            if file.read(8).startswith(KERAS_FILE):
                raise ValueError(
                    f"{path} is a Keras model, not a TFLite file: convert it with export.convert."
                )
    return [os.fspath(path) for path in paths]


def check_file(name, path):
    """Raises a ValueError if the argument `name` names no file that exists."""
    if pathlib.Path(path).is_dir():
        raise ValueError(f"`{name}` names a folder; name the files in it. Received: {path}")
    if not pathlib.Path(path).is_file():
        raise ValueError(f"`{name}` names a file that does not exist. Received: {path}")


def check_counts(**counts):
    """Raises a ValueError if an argument is no integer of 1 or more."""
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an integer >= 1. Received: {name}={value!r}")


def check_seconds(**times):
    """Raises a ValueError if an argument is no positive number."""
    for name, value in times.items():
        if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise ValueError(
                f"`{name}` must be a positive number of seconds. Received: {name}={value!r}"
            )
