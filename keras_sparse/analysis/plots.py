"""Plots of a training run."""

import numpy as np

# The colours of Okabe and Ito, which colour-blind people can distinguish.
_ACCURACIES = {
    "accuracy": ("training accuracy", "#0072b2", ":"),
    "val_accuracy": ("held-out accuracy", "#0072b2", "-"),
}
_DENSE = ("held-out accuracy, dense network", "#999999", "-")
_SPARSITY = ("sparsity: zeros among prunable weights", "#009e73", "-")


def plot_history(history, dense=None):
    """Draws accuracy by epoch, and below it sparsity.

    The axis of accuracy shows the range of the last two thirds of the epochs, so that 0.98 and
    0.99 can be distinguished; lower values of the first epochs are not shown.

    Args:
        history: dict from a log's name to its values by epoch, as `History.history`. It plots
            `accuracy`, `val_accuracy` and `sparsity`, if present.
        dense: the history of a dense network to compare with, or None. It plots its
            `val_accuracy`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: the history has none of these.

    Example:

    >>> plot_history(model.fit(x, y, callbacks=[SparsityLogger()]).history).savefig("run.png")
    """
    # Imported here, so that training does not need matplotlib.
    from matplotlib.figure import Figure

    lines = [(history[name], *look) for name, look in _ACCURACIES.items() if name in history]
    if dense and "val_accuracy" in dense:
        lines.append((dense["val_accuracy"], *_DENSE))
    sparsity = [(history["sparsity"], *_SPARSITY)] if "sparsity" in history else []
    panels = [panel for panel in (lines, sparsity) if panel]
    if not panels:
        names = ", ".join((*_ACCURACIES, "sparsity"))
        raise ValueError(
            f"`history` has none of {names}. Received: {', '.join(history) or 'nothing'}"
        )
    figure = Figure(figsize=(5, 1 + 2 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        for values, label, color, style in panel:
            axes.plot(range(1, len(values) + 1), values, style, color=color, label=label)
        axes.grid(alpha=0.3)
        # Above the axes, so that it covers no line.
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8, frameon=False)
    if lines:
        all_axes[0].set(ylabel="accuracy", ylim=_limits([line[0] for line in lines]))
    if sparsity:
        all_axes[-1].set(ylabel="sparsity")
    all_axes[-1].set_xlabel("epoch")
    all_axes[-1].locator_params(axis="x", integer=True)
    return figure


def _limits(lines):
    """Limits of an axis that shows the last two thirds of all lines."""
    late = [values[len(values) // 3 :] for values in lines]
    low = min(float(np.percentile(values, 10)) for values in late)
    high = max(max(values) for values in late)
    margin = 0.1 * max(high - low, 0.01)
    return low - margin, high + margin
