"""Pictures of a training run."""


def plot_history(history):
    """Draws accuracy and sparsity by epoch.

    Args:
        history: dict from a log's name to its values by epoch, as `History.history` has it. Drawn
            are, where they are there, `accuracy`, `val_accuracy` and `sparsity`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        ValueError: none of them is there.

    Example:

    >>> plot_history(model.fit(x, y, callbacks=[SparsityLogger()]).history).savefig("run.png")
    """
    # Imported here: the library trains without matplotlib.
    from matplotlib.figure import Figure

    lines = {
        "accuracy": ("training accuracy", "tab:blue", "-"),
        "val_accuracy": ("test accuracy", "tab:orange", "-"),
        "sparsity": ("sparsity: zeros among prunable weights", "tab:green", "--"),
    }
    drawn = [name for name in lines if name in history]
    if not drawn:
        raise ValueError(
            f"`history` has none of {', '.join(lines)}. Received: {', '.join(history) or 'nothing'}"
        )
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in drawn:
        label, color, style = lines[name]
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], style, color=color, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure
