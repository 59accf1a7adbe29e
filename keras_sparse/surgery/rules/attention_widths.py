"""The widths of attention's heads after some of their dimensions were removed."""

import numpy as np


class Gather:
    """Takes heads, and of each head some dimensions, from `(inputs, heads, width)`."""

    def __init__(self, inputs, rows, dims):
        self.inputs = inputs
        self.rows = rows
        self.dims = dims

    def __call__(self, array):
        """The part of an array."""
        array = array if self.inputs is None else array[self.inputs]
        return array[..., self.rows[:, None], self.dims]


def common_width(sides, left):
    """The most dimensions that a head which is left needs on any side."""
    return max(int(kept[left].sum(1).max()) for kept in sides)


def level(kept, left, least):
    """The same number of dimensions, at least `least`, in each head that is left; else none."""
    kept = kept & left[:, None]
    width = max(common_width([kept], left), least, 1)
    for head in np.flatnonzero(left):
        missing = width - kept[head].sum()
        kept[head, np.flatnonzero(~kept[head])[:missing]] = True
    return kept


def score_scale(width):
    """The factor on the scores; Keras rounds it to float32 whatever the layer's type."""
    return np.float64(np.float32(1 / np.sqrt(width)))


def kept_positions(kept):
    """Indices of what is kept in each head; all heads keep as many."""
    return np.stack([np.flatnonzero(row) for row in kept])
