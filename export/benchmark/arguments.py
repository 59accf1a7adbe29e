"""Checks of the arguments of both benchmarks, on the host and on a phone."""

import os
import pathlib


def check_paths(paths):
    """The files as a list of text, or a ValueError if there is none or one does not exist."""
    if isinstance(paths, (str, os.PathLike)) or not paths:
        raise ValueError(f"`paths` must be a list of one or more files. Received: paths={paths!r}")
    for path in paths:
        check_file("paths", path)
    return [os.fspath(path) for path in paths]


def check_file(name, path):
    """Raises a ValueError if the file that the argument `name` names does not exist."""
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
