"""Maps the variables of a compact model to those of the large model."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class VariableSlice:
    """The part of a large model's variable from which a compact model's variable was made.

    Args:
        source: path of the variable in the large model, None if it is new (a bias). Equal paths are
            numbered in the order of the trained variables: `c/kernel`, `c/kernel_1`.
        indices: for each axis an array of kept indices, or None if all are kept; or a function
            from array to array.
        shape: the variable's shape in the large model.
        shift: array that folding added to the kept part, None if it added nothing.
        to: shape of the variable of the compact model, if it differs from the kept part's shape.
    """

    source: str | None
    indices: object
    shape: tuple
    shift: object = None
    to: tuple | None = None

    def __call__(self, array):
        """The kept part of an array that has the shape of the large variable."""
        kept = slice_array(array, self.indices)
        return kept if self.to is None else kept.reshape(self.to)

    def spanning(self, array):
        """As `__call__`, for an array with length one along axes where its entries are equal."""
        kept = self(np.broadcast_to(array, self.shape))
        if self.to is not None:
            return kept
        return kept[tuple(slice(1) if size == 1 else slice(None) for size in array.shape)]


def slice_array(array, indices):
    """Takes the given indices on each axis of an array; None keeps a whole axis."""
    if callable(indices):
        return indices(array)
    for axis, index in enumerate(indices):
        if index is not None and len(index) != array.shape[axis]:
            array = np.take(array, index, axis)
    return array
