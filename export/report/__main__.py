"""Set runs beside each other: one page with a table, and accuracy against latency.

python -m export.report runs
python -m export.report runs/digits runs/half timing.json --html=comparison.html
keras-sparse report runs

Reads the report.json of apps.train and apps.compress, at or below the folders, and JSON files of
export.benchmark --result_json. Trains and measures nothing.
"""

import pathlib
import shlex
import sys

import rich
import rich.table
from absl import flags
from rich.markup import escape

from export import ExportError, page
from export.command_line import output, run
from export.report import html, read_runs
from export.report.page import HEADER, table

HTML = flags.DEFINE_string(
    "html", None, "The page to write. Default: runs.html in the first folder."
)
_SHOWN = ("run", "network", "file", "accuracy", "latency, ms", "MACs", "best")


def main(argv):
    """Read the runs at or below `argv[1:]`, print the table and write the page."""
    if len(argv) < 2:
        sys.exit("export.report: name one or more folders of runs (--help shows an example)")
    if not page.available():
        sys.exit("export.report: the page needs a package: pip install jinja2")
    first = pathlib.Path(argv[1])
    path = pathlib.Path(HTML.value or (first if first.is_dir() else first.parent) / "runs.html")
    try:
        runs = read_runs(argv[1:])
        with output(path) as temporary:
            temporary.write_text(html(runs, path.parent, _command()), encoding="utf-8")
    except (ExportError, ValueError) as error:
        sys.exit(f"export.report: {error}")
    _show(runs)
    rich.print(escape(f"Open {path} in a browser."))


def _show(runs):
    text = rich.table.Table(box=None, pad_edge=False, collapse_padding=True)
    shown = [HEADER.index(name) for name in _SHOWN]
    for name in _SHOWN:
        text.add_column(name, justify="left" if name in ("network", "file") else "right")
    for row in table(runs):
        text.add_row(*(escape(row[column]) for column in shown))
    rich.print(text)
    rich.print("best: among the files on one data set and one processor")
    for number, one in enumerate(runs, 1):
        rich.print(escape(f"{number}: {one.path.parent}, {one.title}"))


def _command():
    return shlex.join(["python", "-m", "export.report", *sys.argv[1:]])


if __name__ == "__main__":
    run("export.report", main)
