"""Changes of the masks during a training."""

import numpy as np

# Number of bytes of masks to unpack at once; each gives eight floats.
_CHUNK = 2**16


def mask_overlap(history, path=None):
    """Overlap of the masks of any two epochs: intersection over union.

    It is 1 for identical masks, and d / (2 − d) for two random masks of density d.

    Args:
        history: a `callbacks.MaskHistory` after training.
        path: path of a weight. Defaults to None, all weights together.

    Returns:
        A symmetric float64 array `(epochs, epochs)`; two empty masks have overlap 1.

    Raises:
        ValueError: no epochs; an unknown path; weights that changed their size, so that masks
            cannot be compared (channels were removed).

    Example:

    >>> masks = MaskHistory()
    >>> model.fit(x, y, epochs=10, callbacks=[masks])
    >>> mask_overlap(masks)[0, -1]
    0.41
    """
    if not history.epochs:
        raise ValueError("`history` has no epochs: train with MaskHistory first.")
    if path is not None and path not in history.sizes:
        known = ", ".join(history.sizes)
        raise ValueError(f"`path` must be one of {known}. Received: path={path!r}")
    paths = list(history.sizes) if path is None else [path]
    both = np.zeros([len(history.epochs)] * 2)
    for name in paths:
        if len({epoch[name].size if name in epoch else None for epoch in history.epochs}) > 1:
            raise ValueError(f"{name} changed its size, so its masks cannot be compared.")
        packed = np.stack([epoch[name] for epoch in history.epochs])
        for start in range(0, packed.shape[1], _CHUNK):
            bits = np.unpackbits(packed[:, start : start + _CHUNK], axis=1).astype("float32")
            both += bits @ bits.T
    counts = np.diag(both)
    either = counts[:, None] + counts[None, :] - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def plot_mask_overlap(overlap):
    """Draws the overlap of the masks of any two epochs.

    Args:
        overlap: array `(epochs, epochs)`, as `mask_overlap` returns it.

    Returns:
        A `matplotlib.figure.Figure`.

    Example:

    >>> plot_mask_overlap(mask_overlap(masks)).savefig("overlap.png")
    """
    from matplotlib.figure import Figure

    overlap = np.asarray(overlap)
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    edges = np.arange(len(overlap) + 1) + 0.5
    mesh = axes.pcolormesh(edges, edges, overlap, vmin=0, vmax=1, cmap="viridis")
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.set_xlabel("epoch")
    axes.set_ylabel("epoch")
    axes.locator_params(integer=True)
    figure.colorbar(mesh, ax=axes, label="overlap of masks (intersection over union)")
    return figure
