"""Plots of the results of a table."""

import math

from matplotlib import ticker
from matplotlib.patches import Patch

from apps.reproduction import results

# Markers of the methods, for people who cannot distinguish the colours.
_MARKERS = "os^DvP"


def bars(figure, table, cells):
    """Horizontal bars of the first column, one per row, with published figures as diamonds.

    Args:
        figure: an empty `matplotlib.figure.Figure`.
        table: the `Table`.
        cells: `{row key: finished runs}`.
    """
    rows = results.summary(table, cells)[::-1]
    name, column = next(iter(table.columns.items()))
    figure.set_size_inches(7, 1.2 + 0.25 * len(rows))
    axes = figure.subplots()
    positions = range(len(rows))
    means, errors = zip(*(row["figures"][name] for row in rows), strict=True)
    axes.barh(positions, means, xerr=[error or math.nan for error in errors], capsize=2)
    published = [
        (row["published"][name], place)
        for place, row in enumerate(rows)
        if isinstance(row["published"].get(name), (int, float))
    ]
    if published:
        axes.plot(*zip(*published, strict=True), "kD", markersize=4, label="published")
        axes.legend()
    axes.set_yticks(positions, [", ".join(row["labels"].values()) for row in rows])
    axes.set_ylabel(", ".join(table.rows[0].labels))
    axes.set_xlabel(column.title)
    axes.grid(axis="x", alpha=0.3)


def grouped_bars(name, x, series, panels):
    """A picture function: bars of a column, grouped, in panels side by side.

    Args:
        name: the column.
        x: the heading with the labels of the axis.
        series: the heading with one colour per text.
        panels: the heading with one panel per text.

    Returns:
        A function for `Table.picture`.
    """

    def draw(figure, table, cells):
        rows = results.summary(table, cells)
        titles, groups, colours = (_texts(rows, heading) for heading in (panels, x, series))
        figure.set_size_inches(4.5 * len(titles), 3.6)
        width = 0.8 / len(colours)
        all_axes = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
        for axes, title in zip(all_axes, titles, strict=True):
            for i, colour in enumerate(colours):
                chosen = [
                    row
                    for row in rows
                    if row["labels"][panels] == title and row["labels"][series] == colour
                ]
                places = [groups.index(row["labels"][x]) + (i + 0.5) * width for row in chosen]
                means = [row["figures"][name][0] for row in chosen]
                errors = [row["figures"][name][1] or math.nan for row in chosen]
                axes.bar(places, means, width, yerr=errors, color=f"C{i}")
            axes.set_xticks([i + 0.4 for i in range(len(groups))], groups, rotation=30, ha="right")
            axes.set_title(f"{panels}: {title}")
            axes.grid(axis="y", alpha=0.3)
        all_axes[0].set_ylabel(table.columns[name].title)
        # A panel may lack a series, so the legend has separate marks.
        marks = [Patch(color=f"C{i}", label=colour) for i, colour in enumerate(colours)]
        all_axes[-1].legend(handles=marks, title=series, fontsize="small")

    return draw


def curves(name, x, y):
    """A picture function: a list that the first seed of each row recorded, on a log scale.

    Args:
        name: name of the list in the figures.
        x, y: labels of the axes.

    Returns:
        A function for `Table.picture`.
    """

    def draw(figure, table, cells):
        axes = figure.subplots()
        for row in table.rows:
            for cell in cells[row.key][:1]:
                axes.plot(cell["figures"][name], label=", ".join(row.labels.values()))
        axes.set_yscale("log")
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.grid(alpha=0.3)
        axes.legend()

    return draw


def frontier(y, panels, variants, series, line):
    """A picture function: every row as a point, one column against another.

    Args:
        y: the column on the vertical axis.
        panels: the columns on the horizontal axes, one panel each.
        variants: `{name: ending of the columns' names}`, one point per row and variant; points of
            the first variant are filled.
        series: the heading with one colour per text.
        line: the text of the series to compare with; a line joins its points.

    Returns:
        A function for `Table.picture`.
    """

    def draw(figure, table, cells):
        rows = results.summary(table, cells)
        colours = _texts(rows, series)
        figure.set_size_inches(5.5 * len(panels), 4.5)
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, x in zip(all_axes, panels, strict=True):
            for i, colour in enumerate(colours):
                chosen = [row for row in rows if row["labels"][series] == colour]
                for j, ending in enumerate(variants.values()):
                    _points(axes, chosen, x + ending, y + ending, f"C{i}", j == 0, colour == line)
            axes.set_xscale("log")
            _set_plain_numbers(axes.xaxis)
            axes.margins(x=0.2)  # room for the texts
            axes.set_xlabel(table.columns[x].title)
            axes.grid(alpha=0.3)
        all_axes[0].set_ylabel(table.columns[y].title)
        marks = [Patch(color=f"C{i}", label=colour) for i, colour in enumerate(colours)]
        filled, *_ = variants
        figure.legend(
            handles=marks,
            title=f"filled: {filled}; hollow: {', '.join(list(variants)[1:])}",
            fontsize="small",
            title_fontsize="small",
            loc="outside lower center",
            ncols=len(marks),
        )

    return draw


def _set_plain_numbers(axis):
    """Label a logarithmic axis with plain numbers, few enough to fit."""
    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(ticker.NullFormatter())


def strengths(y, x, series, panels, lowest):
    """A picture function: one column against another, with a line through the rows of a method.

    Args:
        y: the column along the vertical axis.
        x: the column along the horizontal axis, on a log scale.
        series: the heading whose texts have a line each.
        panels: the heading whose texts have a panel each.
        lowest: start of the vertical axis.

    Returns:
        A function for `Table.picture`.
    """

    def draw(figure, table, cells):
        rows = results.summary(table, cells)
        titles, lines = _texts(rows, panels), _texts(rows, series)
        figure.set_size_inches(5.0 * len(titles), 4.2)
        all_axes = figure.subplots(1, len(titles), sharey=True, squeeze=False)[0]
        for axes, title in zip(all_axes, titles, strict=True):
            for i, line in enumerate(lines):
                chosen = [
                    row["figures"]
                    for row in rows
                    if row["labels"][panels] == title and row["labels"][series] == line
                ]
                axes.errorbar(
                    *([figures[name][0] for figures in chosen] for name in (x, y)),
                    yerr=[figures[y][1] or math.nan for figures in chosen],
                    fmt=f"{_MARKERS[i % len(_MARKERS)]}-",
                    color=f"C{i}",
                    label=line,
                    markersize=4,
                )
            axes.set_xscale("log")
            _set_plain_numbers(axes.xaxis)
            axes.set_title(f"{panels}: {title}")
            axes.set_xlabel(table.columns[x].title)
            axes.grid(alpha=0.3)
        highest = max(row["figures"][y][0] for row in rows)
        all_axes[0].set_ylim(lowest, highest + 0.05 * (highest - lowest))
        all_axes[0].set_ylabel(table.columns[y].title)
        all_axes[0].legend(fontsize="small")

    return draw


def beside_others(y, x, panels, others):
    """A picture function: our figures, the paper's and other methods', column against column.

    Args:
        y: the column along the vertical axis, which has published figures.
        x: the column along the horizontal axis, on a log scale, in percent.
        panels: the heading whose texts have a panel each.
        others: `{method: {text of the panel: list of (x, y)}}`.

    Returns:
        A function for `Table.picture`.
    """

    def draw(figure, table, cells):
        rows = results.summary(table, cells)
        titles = _texts(rows, panels)
        figure.set_size_inches(5.0 * len(titles), 4.2)
        all_axes = figure.subplots(1, len(titles), squeeze=False)[0]
        for axes, title in zip(all_axes, titles, strict=True):
            chosen = [row for row in rows if row["labels"][panels] == title]
            chosen.sort(key=lambda row: row["figures"][x][0])
            places = [row["figures"][x][0] for row in chosen]
            means, errors = zip(*(row["figures"][y] for row in chosen), strict=True)
            errors = [error or math.nan for error in errors]
            axes.errorbar(places, means, yerr=errors, fmt="o-", color="C0", label="ours")
            published = [row["published"].get(y, math.nan) for row in chosen]
            axes.plot(places, published, "kD--", markersize=4, linewidth=1, label="published")
            for i, (method, points) in enumerate(others.items(), 1):
                axes.plot(*zip(*points[title], strict=True), "s", color=f"C{i}", label=method)
            axes.set_xscale("log")
            _set_plain_numbers(axes.xaxis)
            axes.set_title(f"{panels}: {title}")
            axes.set_xlabel(table.columns[x].title)
            axes.grid(alpha=0.3)
        all_axes[0].set_ylabel(table.columns[y].title)
        all_axes[-1].legend(fontsize="x-small")

    return draw


def _points(axes, rows, x, y, colour, filled, joined):
    """The rows' points; filled ones have a text that distinguishes points of a colour."""
    places = sorted(
        (row["figures"][x][0], row["figures"][y][0], " ".join(list(row["labels"].values())[1:]))
        for row in rows
    )
    if not places:
        return
    axes.plot(
        [place[0] for place in places],
        [place[1] for place in places],
        "o-" if joined else "o",
        color=colour,
        markerfacecolor=colour if filled else "white",
        linewidth=1,
    )
    # Texts of joined points are to the left of their line, away from the other texts.
    offset, side = ((-5, 3), "right") if joined else ((4, -9), "left")
    for across, up, text in places if filled else ():
        axes.annotate(text, (across, up), offset, textcoords="offset points", fontsize=6, ha=side)


def _texts(rows, heading):
    """The distinct texts of a label, in the order of the rows."""
    return list(dict.fromkeys(row["labels"][heading] for row in rows))
