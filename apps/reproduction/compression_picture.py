"""Accuracy by latency of compressed networks, and by the epochs after the cut."""

import itertools
import statistics

from apps.reproduction import results

_DENSE = "#666666"
# The colours of Okabe and Ito, which colour-blind people can distinguish.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# Names of more rows than this stand in a legend, because they would cover each other.
_NAMED_BESIDE = 2
_KINDS = {"float32": ("", "o"), "int8": ("_int8", "D")}


def draw(figure, table, cells):
    """A picture for `Table.picture`: accuracy by latency and, if it was run, by epochs."""
    curves = _curves(table, cells)
    figure.set_size_inches(12 if curves else 7, 4.2)
    axes, *right = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    _draw_frontier(axes, table, cells)
    if curves:
        _draw_curves(right[0], table, cells, curves)


def _draw_frontier(axes, table, cells):
    """Rows that were trained after the cut for the table's epochs, with their names.

    A line joins dense networks of several widths. Filled marks are float32, hollow marks int8.
    """
    rows = [row for row in results.summary(table, cells) if not row["labels"]["epochs"]]
    dense = [row for row in rows if _is_dense(row["labels"])]
    others = [row for row in rows if not _is_dense(row["labels"])]
    in_legend = len(others) > _NAMED_BESIDE
    for kind, (ending, marker) in _KINDS.items():
        filled = kind == "float32"
        _line(axes, dense, ending, marker, filled)
        for row, colour in zip(others, itertools.cycle(_COLOURS), strict=False):
            name = _name(row["labels"]) if filled else ""
            _point(axes, row, ending, marker, colour, name, in_legend)
        axes.plot([], [], marker, color=_DENSE, label=kind, **_face(_DENSE, filled))
    axes.set(xlabel="latency, ms, one thread", ylabel=table.columns["accuracy"].title)
    axes.margins(x=0.15, y=0.12)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    if in_legend:
        axes.figure.set_figheight(axes.figure.get_figheight() + 0.1 * len(others))
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.15), ncols=2, fontsize="small")
    else:
        axes.legend(loc="lower right")


def _curves(table, cells):
    """`{initialization: [(epochs, accuracy)]}` of a shape that was trained for several lengths."""
    budgets = {
        row.labels["budget"] for row in table.rows if row.labels["epochs"] and cells[row.key]
    }
    found = {}
    for row in table.rows:
        runs = cells[row.key]
        if runs and row.labels["budget"] in budgets:
            accuracy = statistics.mean(run["figures"]["accuracy"] for run in runs)
            epochs = int(row.labels["epochs"] or runs[0]["epochs"])
            found.setdefault(row.labels["initialization"], []).append((epochs, accuracy))
    return {name: sorted(points) for name, points in found.items() if len(points) > 1}


def _draw_curves(axes, table, cells, curves):
    ticks = sorted({epochs for points in curves.values() for epochs, _ in points})
    for (name, points), colour in zip(curves.items(), _COLOURS, strict=False):
        across = [ticks.index(epochs) for epochs, _ in points]
        axes.plot(across, [accuracy for _, accuracy in points], "o-", color=colour, label=name)
    given = results.summary(table, cells)[0]
    axes.axhline(given["figures"]["accuracy"][0], color=_DENSE, linestyle="--", linewidth=1)
    axes.annotate(
        f"dense, {given['labels']['network']}",
        (0, given["figures"]["accuracy"][0]),
        (0, -12),
        textcoords="offset points",
        color=_DENSE,
    )
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set(xlabel="epochs after the cut", ylabel=table.columns["accuracy"].title)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _is_dense(labels):
    return not labels["budget"] and labels["initialization"] == "scratch"


def _line(axes, dense, ending, marker, filled):
    places = sorted((*_place(row, ending), row["labels"]["network"]) for row in dense)
    if not places:
        return
    across, up, _ = zip(*places, strict=True)
    axes.plot(across, up, f"{marker}-", color=_DENSE, linewidth=1, **_face(_DENSE, filled))
    for x, y, name in places if filled else ():
        axes.annotate(f"dense, {name}", (x, y), (0, -14), textcoords="offset points", ha="center")


def _point(axes, row, ending, marker, colour, text, in_legend):
    place = _place(row, ending)
    label = text if in_legend else ""
    axes.plot(*place, marker, color=colour, markersize=9, label=label, **_face(colour, not ending))
    if not in_legend:
        axes.annotate(text, place, (0, 9), textcoords="offset points", ha="center", color=colour)


def _place(row, ending):
    return tuple(row["figures"][name + ending][0] for name in ("latency", "accuracy"))


def _face(colour, filled):
    return {"markerfacecolor": colour if filled else "white"}


def _name(labels):
    if not labels["budget"]:
        return f"dense, {labels['network']}" + labels["initialization"].removeprefix("scratch")
    if labels["initialization"] == "scratch":
        return f"that shape, from scratch ({labels['budget']})"
    return f"compressed to {labels['budget']}" + labels["initialization"].removeprefix("inherited")
