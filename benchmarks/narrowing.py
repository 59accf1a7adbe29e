"""Networks with random widths."""

import numpy as np

from keras_sparse import surgery
from keras_sparse.compression.planning import removable_groups


def narrowed(model, seed):
    """Removes random channels, so that every group has a quarter of its width or more.

    Args:
        model: a built `keras.Model`; it is not changed.
        seed: int.

    Returns:
        `(compact, groups, widths)`: the new model, the groups of `model`, and their new widths.
    """
    rng = np.random.default_rng(seed)
    groups = removable_groups(model)
    widths = np.array([rng.integers(max(1, group.size // 4), group.size + 1) for group in groups])
    removed = {g: np.arange(g.size) >= w for g, w in zip(groups, widths, strict=True)}
    compact, _ = surgery.remove_dead_channels(surgery.zero_groups(model, removed))
    return compact, groups, widths
