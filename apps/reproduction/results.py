"""Results next to published figures: CSV, Markdown, the terminal, a picture."""

import csv
import io
import itertools
import math
import statistics

import rich.console
import rich.table

from keras_sparse.files import replacing

_BOUNDLESS = 10_000  # terminal width at which no table is truncated


def summary(table, cells):
    """The rows of the results.

    Args:
        table: the `Table`.
        cells: `{row key: finished runs}`.

    Returns:
        A list of dicts, one for each row with a finished run: `labels`, `runs` (their number),
        `published`, and `figures`, `{column: (mean, standard error)}`; the standard error of a
        single run is None.
    """
    rows = []
    for row in table.rows:
        runs = cells[row.key]
        if runs:
            figures = {
                name: _mean_and_error([_figure(run, name) for run in runs])
                for name in table.columns
            }
            rows.append(
                {
                    "labels": dict(row.labels),
                    "runs": len(runs),
                    "figures": figures,
                    "published": dict(row.published),
                }
            )
    return rows


def write_text(table, cells, facts, out):
    """Write results.csv and results.md."""
    with replacing(out / "results.csv") as temporary:
        temporary.write_text(_as_csv(table, cells), encoding="utf-8")
    with replacing(out / "results.md") as temporary:
        temporary.write_text(_as_markdown(table, cells, facts), encoding="utf-8")


def write_picture(table, cells, out):
    """Write results.png."""
    # Imported here because it takes a second and is needed only at the end.
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    table.picture(figure, table, cells)
    with replacing(out / "results.png") as temporary:
        figure.savefig(temporary, dpi=100)


def as_rich(table, cells, console):
    """The table for the terminal; if it is too narrow, a list of figures for each row."""
    headings, lines = _text_table(table, cells)
    shown = rich.table.Table(title=table.title)
    for heading in headings:
        shown.add_column(heading)
    for line in lines:
        shown.add_row(*line)
    boundless = console.options.update(width=_BOUNDLESS)
    if console.measure(shown, options=boundless).maximum <= console.width:
        return shown
    labels = len(table.rows[0].labels)
    lists = [_as_list(headings[labels:], line, labels) for line in lines]
    return rich.console.Group(table.title, *itertools.chain(*lists))


def _as_list(headings, line, labels):
    """The name of a row, and its figures below each other."""
    shown = rich.table.Table(box=None, show_header=False)
    for heading, figure in zip(headings, line[labels:], strict=True):
        if figure:
            shown.add_row(heading, figure)
    return ", ".join(filter(None, line[:labels])), shown


def line(table, cell):
    """One line about a finished run."""
    figures = ", ".join(
        f"{column.title}: {cell['figures'][name]:{column.format}}"
        for name, column in table.columns.items()
        if name in cell["figures"]
    )
    seconds = cell["seconds_per_epoch"]
    pace = "" if seconds is None else f" ({seconds:.1f} s an epoch)"
    return f"{cell['row']}, seed {cell['seed']}: {figures}{pace}"


def _figure(run, name):
    # Figures that are measured side by side are missing until all runs are done.
    return run[name] if name == "seconds_per_epoch" else run["figures"].get(name)


def _mean_and_error(values):
    # A run that was killed after its last epoch has no time of an epoch.
    values = [value for value in values if value is not None]
    if not values:
        return math.nan, None
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, statistics.stdev(values) / math.sqrt(len(values))


def _as_csv(table, cells):
    rows = summary(table, cells)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    kinds = ("mean", "standard_error", "published")
    names = [f"{name}_{kind}" for name in table.columns for kind in kinds]
    writer.writerow([*table.rows[0].labels, "runs", *names])
    for row in rows:
        figures = [
            value
            for name in table.columns
            for value in (*row["figures"][name], row["published"].get(name))
        ]
        writer.writerow([*row["labels"].values(), row["runs"], *figures])
    return text.getvalue()


def _as_markdown(table, cells, facts):
    headings, lines = _text_table(table, cells)
    rules = ["---"] * len(headings)
    rows = [f"| {' | '.join(cells)} |" for cells in (headings, rules, *lines)]
    paragraphs = [f"# {table.title}", f"Reference: {table.reference}"]
    if table.notes:
        paragraphs.append(table.notes)
    paragraphs += ["\n".join(rows), "Mean ± standard error over the runs, one for each seed."]
    trained = {run.get("epochs", facts["epochs"]) for runs in cells.values() for run in runs}
    used = f"{', '.join(map(str, sorted(trained)))} epochs"
    if facts["train_images"] is not None:
        used += f" of {facts['train_images']:,} training images ({table.dataset})"
    used += f", Keras {facts['keras']} on {facts['backend']}"
    trainers = {run["trained_on"] for runs in cells.values() for run in runs if "trained_on" in run}
    if trainers:
        used += f"; trained on {', '.join(sorted(trainers))}"
    paragraphs.append(f"{used}.")
    paragraphs.append(f"```sh\n{facts['command']}\n```")
    return "\n\n".join(paragraphs) + "\n"


def _text_table(table, cells):
    """Headings and lines of text, with published figures next to the measured ones."""
    rows = summary(table, cells)
    published = [name for name in table.columns if any(name in row.published for row in table.rows)]
    headings = [*table.rows[0].labels, "runs"]
    for name, column in table.columns.items():
        headings += [column.title, "published"] if name in published else [column.title]
    lines = []
    for row in rows:
        line = [*row["labels"].values(), str(row["runs"])]
        for name, column in table.columns.items():
            line.append(_with_error(*row["figures"][name], column.format))
            if name in published:
                line.append(str(row["published"].get(name, "")))
        lines.append(line)
    return headings, lines


def _with_error(mean, error, form):
    if math.isnan(mean):
        return ""
    return f"{mean:{form}}" if error is None else f"{mean:{form}} ± {error:{form}}"
