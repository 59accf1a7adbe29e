"""Results that `print` shows as a table."""

import io

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
