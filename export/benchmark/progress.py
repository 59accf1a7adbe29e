"""The progress bar of a benchmark."""

import contextlib

import rich.console
import rich.progress


@contextlib.contextmanager
def progress_bar():
    """A bar on the terminal that is removed at the end, as a function of (done, total)."""
    console = rich.console.Console(stderr=True)
    hidden = not console.is_terminal
    with rich.progress.Progress(console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("timing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
