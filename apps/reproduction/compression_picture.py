"""Accuracy by latency of compressed networks, and of dense ones for comparison."""

from apps.reproduction import results

_DENSE = "#666666"
# The colours of Okabe and Ito, which colour-blind people can distinguish.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_KINDS = {"float32": ("", "o"), "int8": ("_int8", "D")}


def draw(figure, table, cells):
    """A picture for `Table.picture`: rows that were trained after the cut, with their names.

    A line joins dense networks of several widths. Filled marks are float32, hollow marks int8.
    """
    rows = [row for row in results.summary(table, cells) if not row["labels"]["epochs"]]
    dense = [row for row in rows if _is_dense(row["labels"])]
    others = [row for row in rows if not _is_dense(row["labels"])]
    initializations = list(dict.fromkeys(row["labels"]["initialization"] for row in others))
    figure.set_size_inches(7, 4.2)
    axes = figure.subplots()
    for kind, (ending, marker) in _KINDS.items():
        filled = kind == "float32"
        _line(axes, dense, ending, marker, filled)
        for row in others:
            colour = _COLOURS[initializations.index(row["labels"]["initialization"])]
            _point(axes, row, ending, marker, colour, _name(row["labels"]) if filled else "")
        axes.plot([], [], marker, color=_DENSE, label=kind, **_face(_DENSE, filled))
    axes.set(xlabel="latency, ms, one thread", ylabel=table.columns["accuracy"].title)
    axes.margins(x=0.15, y=0.12)
    axes.set_xlim(left=0)
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


def _point(axes, row, ending, marker, colour, text):
    place = _place(row, ending)
    axes.plot(*place, marker, color=colour, markersize=9, **_face(colour, not ending))
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
