"""Plots of a model's channels over training."""

import math

import numpy as np

from keras_sparse.channels import log10_scores

_COLUMNS = 3
_BINS = 40


def plot_channel_scores(record, size="score"):
    """Plots a histogram of the channels' scores by epoch, as colour, for each layer.

    Dead and live channels form two bands; a wider gap between them makes the threshold safer. The
    dashed line is the threshold. Zero is drawn at 1e-45.

    Args:
        record: list of `EpochRecord`, as `DeadChannelCounter.record`.
        size: label of the axis of scores, such as `"norm of incoming weights"`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: the record is empty.

    Example:

    >>> plot_channel_scores(counter.record).savefig("scores.png")
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    names = _layers(record)
    rows = math.ceil(len(names) / _COLUMNS)
    columns = min(len(names), _COLUMNS)
    figure = Figure(figsize=(1 + 3.3 * columns, 0.6 + 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    logs = [{k: log10_scores(v) for k, v in r.scores.items()} for r in record]
    values = np.concatenate([v for epoch in logs for v in epoch.values()])
    edges = np.linspace(np.floor(values.min()), np.ceil(values.max()) + 0.01, _BINS + 1)
    counts = {n: np.array([np.histogram(e.get(n, ()), edges)[0] for e in logs]) for n in names}
    most = max(found.max() for found in counts.values())
    norm = LogNorm(1, max(2, most))
    for name, axes in zip(names, panels, strict=False):
        grid = np.ma.masked_equal(counts[name].T, 0)
        mesh = axes.pcolormesh(_epoch_edges(record), edges, grid, norm=norm, cmap="viridis")
        axes.set_title(name, fontsize=9)
        axes.set_facecolor("whitesmoke")
        axes.tick_params(labelbottom=True)
        if record[-1].threshold is not None:
            line = math.log10(record[-1].threshold)
            axes.axhline(line, color="tab:red", linestyle="--", linewidth=1)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.colorbar(mesh, ax=panels.tolist(), label="channels")
    figure.supxlabel("epoch")
    figure.supylabel(f"log10 of {size}")
    return figure


def plot_dead_channels(record):
    """Plots the dead channels by epoch: their number above, the share of each layer below.

    Args:
        record: list of `EpochRecord`, as `DeadChannelCounter.record`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: the record is empty.

    Example:

    >>> plot_dead_channels(counter.record).savefig("dead.png")
    """
    from matplotlib.figure import Figure

    names = _layers(record)
    figure = Figure(figsize=(8, 3 + 0.3 * len(names)), layout="constrained")
    heights = (2, 0.5 + 0.3 * len(names))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=heights)
    totals = [sum(int(dead.sum()) for dead in r.dead.values()) for r in record]
    above.plot(range(1, len(record) + 1), totals, "o-", markersize=3)
    above.set_ylabel("dead channels")
    above.set_ylim(bottom=0)
    above.grid(alpha=0.3)
    shares = [[r.dead[n].mean() if n in r.dead else np.nan for r in record] for n in names]
    rows = np.arange(len(names) + 1) - 0.5
    mesh = below.pcolormesh(
        _epoch_edges(record), rows, np.array(shares), vmin=0, vmax=1, cmap="viridis"
    )
    labels = [f"{name}, {_count(record[-1], name)}" for name in names]
    below.set_yticks(range(len(names)), labels, fontsize=8)
    below.invert_yaxis()
    below.set_xlabel("epoch")
    figure.colorbar(mesh, ax=below, label="share dead")
    return figure


def plot_by_layer(values, label):
    """Draws a value for each channel of each layer: one dot per channel, the median as a bar.

    Args:
        values: `{layer name: array (channels,)}`, as from `selectivity`; nan is omitted.
        label: label of the axis.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    >>> plot_by_layer(selectivity(model, x_test), "selectivity").savefig("selectivity.png")
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 0.5 * max(len(values), 3)), layout="constrained")
    axes = figure.subplots()
    spread = np.random.default_rng(0)
    for row, found in enumerate(values.values()):
        known = found[~np.isnan(found)]
        heights = row + spread.uniform(-0.3, 0.3, known.size)
        axes.plot(known, heights, ".", markersize=4, alpha=0.5)
        if known.size:
            axes.plot([np.median(known)] * 2, [row - 0.4, row + 0.4], "k-", linewidth=2)
    axes.set_yticks(range(len(values)), list(values), fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.grid(alpha=0.3, axis="x")
    return figure


def _layers(record):
    if not record:
        raise ValueError("`record` has no epochs: train with DeadChannelCounter first.")
    return list(dict.fromkeys(name for epoch in record for name in epoch.scores))


def _epoch_edges(record):
    return np.arange(len(record) + 1) + 0.5


def _count(epoch, name):
    if name not in epoch.dead:
        return "gone"
    return f"{int(epoch.dead[name].sum())} of {epoch.dead[name].size}"
