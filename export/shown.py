"""Results that `print` shows as a table."""

import io
import os
import pathlib

from rich.console import Console

WIDTH = 80


class Shown:
    """Base of results with a `__rich__`: `print` shows it too, at most 80 columns wide.

    `repr` is unchanged, with every measured number.
    """

    def __str__(self):
        console = Console(file=io.StringIO(), width=WIDTH)
        console.print(self)
        lines = console.file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines)


def short_names(paths):
    """The files' names; with their folders, or as paths, if two have the same name."""
    parts = [pathlib.Path(path).parts for path in paths]
    for depth in (1, 2):
        names = [os.path.join(*own[-depth:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    return list(map(os.fspath, paths))
