"""The widths of attention's heads after some of their dimensions were removed."""

import numpy as np


class Gather:
    """Takes some heads, and some dimensions of each head, from `(inputs, heads, width)`."""

    def __init__(self, inputs, rows, dims):
        self.inputs = inputs
        self.rows = rows
        self.dims = dims

    def __call__(self, array):
        """Takes the part from an array."""
        array = array if self.inputs is None else array[self.inputs]
        return array[..., self.rows[:, None], self.dims]


def common_width(sides, left):
    """The largest number of dimensions that any kept head needs on any side."""
    return max(int(kept[left].sum(1).max()) for kept in sides)


def level(kept, left, least):
    """Keeps equally many dimensions, at least `least`, in each kept head; none in others."""
    kept = kept & left[:, None]
    width = max(common_width([kept], left), least, 1)
    for head in np.flatnonzero(left):
        missing = width - kept[head].sum()
        kept[head, np.flatnonzero(~kept[head])[:missing]] = True
    return kept


def score_scale(width):
    """The factor on the scores. Keras rounds it to float32 for every type of the layer."""
    return np.float64(np.float32(1 / np.sqrt(width)))


def kept_positions(kept):
    """Indices of the kept dimensions of each head; all heads keep equally many."""
    return np.stack([np.flatnonzero(row) for row in kept])
