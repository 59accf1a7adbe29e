"""Where the variables of a compact model come from."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class VariableSlice:
    """Where a variable of the compact model comes from.

    Args:
        source: path of the variable in the large model, None if it is new (a bias).
        indices: for each axis an array of kept indices, or None where all are kept; or a function
            from array to array.
        shape: the variable's shape in the large model.
        shift: what folding added to the kept part, None if nothing.
        to: shape of the variable of the compact model, where it is another than the kept part's.
    """

    source: str | None
    indices: object
    shape: tuple
    shift: object = None
    to: tuple | None = None

    def __call__(self, array):
        """The kept part of an array shaped as the large variable."""
        kept = slice_array(array, self.indices)
        return kept if self.to is None else kept.reshape(self.to)

    def spanning(self, array):
        """The same of an array with one entry, instead of many equal ones, along some axes."""
        kept = self(np.broadcast_to(array, self.shape))
        if self.to is not None:
            return kept
        return kept[tuple(slice(1) if size == 1 else slice(None) for size in array.shape)]


def slice_array(array, indices):
    """`array` with, on each axis, only the indices given; None keeps an axis."""
    if callable(indices):
        return indices(array)
    for axis, index in enumerate(indices):
        if index is not None and len(index) != array.shape[axis]:
            array = np.take(array, index, axis)
    return array
