"""Results that `print` shows as a table."""

import io
import os
import pathlib

import rich.table
from rich.console import Console
from rich.markup import escape

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


def figures_table(header, rows, **style):
    """A table of names and their figures; names are broken into lines, figures never.

    Args:
        header: list of labels; that of the first column is the names'.
        rows: rows of text, which may hold square brackets.
        **style: arguments of `rich.table.Table`.
    """
    table = rich.table.Table(pad_edge=False, collapse_padding=True, **style)
    first, *others = (label.replace(" ", "\n") for label in header)
    table.add_column(first, overflow="fold")
    for label in others:
        table.add_column(label, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table
