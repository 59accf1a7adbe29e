"""A page that compares several runs: a table, and accuracy against latency."""

import os
from urllib.parse import quote

from export.page import Page, Picture, render, svg
from export.page.page import Links, Table
from export.report.runs import Row

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#999999")
_MARKERS = {"float32": "o", "float16": "s", "dynamic": "^", "int8": "D"}
_COLUMNS = (
    ("accuracy", "accuracy", "{:.4f}"),
    ("latency, ms", "latency_ms", "{:#.3g}"),
    ("MACs", "macs", "{:,}"),
    ("file, bytes", "bytes", "{:,}"),
    ("parameters", "parameters", "{:,}"),
)
HEADER = ["run", "network", "file", *(label for label, _, _ in _COLUMNS), "best"]
_ABOUT = (
    "Latency is the fastest inference. Files of one run were timed in alternation; files of "
    "different runs were not, so small differences between runs mean little. “best”: no other "
    "file on the same data set and the same processor is faster and at least as accurate."
)


def html(runs, folder, command=""):
    """The runs as a page in one file.

    Args:
        runs: list of `Run`.
        folder: the folder of the page; links to the pages of the runs are relative to it.
        command: the command that made the page, or "".

    Returns:
        Text.
    """
    processors = list(dict.fromkeys(run.processor for run in runs if run.processor))
    data = list(dict.fromkeys(run.data for run in runs if run.data))
    pictures = [
        _picture(runs, where, several=(len(processors) > 1, len(data) > 1))
        for where in dict.fromkeys(map(_where, runs))
    ]
    sections = [
        list(filter(None, pictures)),
        Table("The networks", HEADER, table(runs), _ABOUT),
        _settings(runs),
        _links(runs, folder),
    ]
    warnings = []
    if len(processors) > 1:
        warnings.append(
            f"The runs were timed on {len(processors)} processors or settings: "
            f"{'; '.join(processors)}. Do not compare latencies across them."
        )
    if len(data) > 1:
        warnings.append(
            f"The accuracies are of {len(data)} data sets: {'; '.join(data)}. Do not compare them "
            "across data sets."
        )
    return render(
        Page(
            title=f"{len(runs)} runs beside each other",
            warnings=warnings,
            sections=[section for section in sections if section],
            command=command,
            machine=f"Timed on {processors[0]}." if len(processors) == 1 else "",
        )
    )


def table(runs):
    """A row of text for each network or file, numbered by run."""
    best = {id(row) for row in _best(runs)}
    return [
        [str(number), row.network, row.kind, *_figures(row), "yes" if id(row) in best else ""]
        for number, run in enumerate(runs, 1)
        for row in run.rows
    ]


def _figures(row):
    values = [(pattern, getattr(row, key)) for _, key, pattern in _COLUMNS]
    return ["-" if value is None else pattern.format(value) for pattern, value in values]


def _known(run):
    return [row for row in run.rows if None not in (row.accuracy, row.latency_ms)]


def _where(run):
    """The processor and the data set of a run; figures of others cannot be compared with it."""
    return run.processor, run.data


def _best(runs):
    """Rows without a better row, in both latency and accuracy, on the same data and processor."""
    for where in set(map(_where, runs)):
        rows = [row for run in runs if _where(run) == where for row in _known(run)]
        yield from (row for row in rows if not any(_beats(other, row) for other in rows))


def _beats(other: Row, row: Row):
    no_worse = other.latency_ms <= row.latency_ms and other.accuracy >= row.accuracy
    return no_worse and (other.latency_ms, other.accuracy) != (row.latency_ms, row.accuracy)


def _picture(runs, where, several):
    """A `Picture` of accuracy by latency; None with fewer than two marks.

    Args:
        runs: list of `Run`.
        where: processor and data set of the runs in the picture.
        several: whether there are several processors, and several data sets.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    found = [
        (number, row)
        for number, run in enumerate(runs, 1)
        for row in _known(run)
        if _where(run) == where
    ]
    if len(found) < 2:
        return None
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, row in found:
        colour = _COLOURS[(number - 1) % len(_COLOURS)]
        axes.plot(
            row.latency_ms,
            row.accuracy,
            _MARKERS[row.kind],
            color=colour,
            markersize=8,
            fillstyle="full" if row.network == "compact" else "none",
        )
        axes.annotate(
            str(number),
            (row.latency_ms, row.accuracy),
            xytext=(6, 5),
            textcoords="offset points",
            color=colour,
            fontsize=9,
        )
    axes.set(xlabel="latency, ms (fastest)", ylabel="accuracy")
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    axes.locator_params(axis="x", nbins=6)
    axes.grid(alpha=0.3)
    kinds = [kind for kind in _MARKERS if any(row.kind == kind for _, row in found)]
    marks = [(_MARKERS[kind], "full", f"{kind}, compact") for kind in kinds]
    marks += [(_MARKERS[kind], "none", f"{kind}, before the cut") for kind in kinds]
    axes.legend(
        handles=[
            Line2D([], [], color="#999999", ls="", marker=marker, fillstyle=fill, label=label)
            for marker, fill, label in marks
        ],
        fontsize=8,
    )
    told = "".join(f" On {name}." for name, told in zip(where, several, strict=True) if told)
    return Picture(
        "Accuracy by latency",
        "To the left is faster, above is better. A number is that of the run in the table." + told,
        svg(figure, f"Accuracy by latency of {len(found)} files"),
    )


def _settings(runs):
    """A `Table` with the settings of each run."""
    names = list(dict.fromkeys(name for run in runs for name in run.facts))
    rows = [
        [str(number), run.path.parent.name or str(run.path), run.program, run.title]
        + [run.facts.get(name, "-") for name in names]
        for number, run in enumerate(runs, 1)
    ]
    return Table("The runs", ["run", "folder", "program", "what", *names], rows)


def _links(runs, folder):
    """`Links` to the pages of the runs; None if there are none."""
    links = [
        (f"{number}. {run.title}", quote(os.path.relpath(page, folder).replace(os.sep, "/")))
        for number, run in enumerate(runs, 1)
        if (page := run.path.with_name("report.html")).exists()
    ]
    return Links("Each run by itself", links) if links else None
