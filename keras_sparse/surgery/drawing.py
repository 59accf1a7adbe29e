"""Pictures of what surgery did."""

import itertools

import numpy as np
from matplotlib.figure import Figure

_ROW = 0.19  # inches


def draw_channels(layers):
    """Draws bars of the kept and the removed channels, one row for each `LayerReport`."""
    layers = [layer for layer in layers if layer.channels[0]]
    figure = Figure(figsize=(8, 1 + _ROW * max(len(layers), 4)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(layers))
    kept = np.array([layer.channels[1] for layer in layers])
    gone = np.array([layer.channels[0] for layer in layers]) - kept
    axes.barh(rows, kept, label="kept", color="tab:blue")
    axes.barh(rows, gone, left=kept, label="removed", color="lightgray")
    _name_rows(axes, [layer.name for layer in layers])
    axes.set_xlabel("channels")
    # Above the axes, so that it covers no bar.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, frameon=False)
    return figure


def draw_groups(groups, order):
    """Draws a row for each layer, and a line for each `GroupReport` through its layers.

    Dots are layers that compute the channels; circles are layers that couple them. Layers without
    coupled channels have a grey dot. Labels at the right give the number of channels of the row's
    group, before and after.
    """
    named = {name for group in groups for name in (*group.layers, *group.joined_by)}
    names = [name for name in order if name in named]
    row = {name: i for i, name in enumerate(names)}
    spans = [[row[name] for name in (*group.layers, *group.joined_by)] for group in groups]
    lanes = _lanes([(min(span), max(span)) for span in spans])
    width = max(lanes, default=0) + 1
    labels = _widths(groups)
    letters = max(map(len, names), default=0) + max(map(len, labels.values()), default=0)
    figure = Figure(
        figsize=(max(4.5, 0.6 + 0.07 * letters + 0.3 * width), 1 + _ROW * max(len(names), 4)),
        layout="constrained",
    )
    axes = figure.subplots()
    axes.spines[:].set_visible(False)
    axes.hlines(range(len(names)), -0.5, width - 0.5, color="0.92", linewidth=0.7, zorder=0)
    colours = itertools.cycle(f"C{i}" for i in range(7))
    for group, lane in zip(groups, lanes, strict=True):
        own = [row[name] for name in group.layers]
        joins = [row[name] for name in group.joined_by]
        colour = next(colours) if len(own) > 1 else "0.6"
        axes.vlines(lane, min(own + joins), max(own + joins), color=colour, linewidth=2)
        axes.plot([lane] * len(own), own, "o", color=colour, markersize=5)
        axes.plot([lane] * len(joins), joins, "o", color=colour, markerfacecolor="w", markersize=5)
    right = axes.secondary_yaxis("right")
    right.spines[:].set_visible(False)
    right.set_yticks(range(len(names)), [labels.get(name, "") for name in names], fontsize=7)
    right.tick_params(length=0)
    _name_rows(axes, names)
    axes.set_xticks([])
    axes.set_xlim(-0.7, width - 0.3)
    axes.set_title("coupled channels: ● computes, ○ couples", fontsize=8)
    return figure


def _name_rows(axes, names):
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(len(names) - 0.3, -0.7)
    axes.tick_params(axis="y", length=0)


def _lanes(spans):
    """The lane of each span of rows: the first free one. Long spans are placed first."""
    lanes = [0] * len(spans)
    taken = []
    for i in sorted(range(len(spans)), key=lambda i: (spans[i][0] - spans[i][1], spans[i][0])):
        first, last = spans[i]
        free = (lane for lane, rows in enumerate(taken) if not rows & set(range(first, last + 1)))
        lanes[i] = next(free, len(taken))
        if lanes[i] == len(taken):
            taken.append(set())
        taken[lanes[i]] |= set(range(first, last + 1))
    return lanes


def _widths(groups):
    """`{layer name: "before → after"}`, of all its groups."""
    found = {}
    for group in groups:
        before, after = group.channels
        for name in group.layers:
            found.setdefault(name, []).append(
                f"{before:,} → {after:,}" if before != after else f"{before:,}"
            )
    return {name: " + ".join(texts) for name, texts in found.items()}
