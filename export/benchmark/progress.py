"""The progress of a benchmark."""

import contextlib
import sys

import rich.console
import rich.progress

_PARTS = 4


@contextlib.contextmanager
def progress_bar():
    """A function of (done, total) that shows a progress bar and removes it at the end.

    If the standard error is a file, it writes a line after each quarter instead.
    """
    console = rich.console.Console(stderr=True)
    if not console.is_terminal:
        yield _quarters()
        return
    with rich.progress.Progress(console=console, transient=True) as bar:
        task = bar.add_task("timing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _quarters():
    told = 0

    def tell(done, total):
        nonlocal told
        part = int(_PARTS * done / total)
        if told < part < _PARTS:
            told = part
            print(f"timing: {part / _PARTS:.0%} is done", file=sys.stderr, flush=True)

    return tell
