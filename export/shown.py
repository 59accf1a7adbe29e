"""Results as `print` shows them."""

import io

from rich.console import Console

WIDTH = 80


class Shown:
    """A base of results with a `__rich__`: `print` shows that too, at most 80 columns wide.

    `repr` stays what it is, with every measured number.
    """

    def __str__(self):
        console = Console(file=io.StringIO(), width=WIDTH)
        console.print(self)
        lines = console.file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines)
