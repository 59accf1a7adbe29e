"""The sums of gradients of a compact model, from which thresholding computes its weights.

By channel, the threshold is compared with the norm of all weights that the channel had before
surgery: removed weights still count, in separate slots. If surgery folded a constant into a weight,
the sum of that weight changes too.
"""

import dataclasses

import keras
import numpy as np


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


@dataclasses.dataclass(frozen=True)
class Sums:
    """The sums of a variable before surgery, as NumPy arrays.

    Attributes:
        slot: a sum of gradients or their mean.
        scale: the threshold is applied to slot times scale.
        steps: the sum of gradients divided by the slot.
        axes: axes of the variable over which a group spreads; None where weights are thresholded
            one by one.
        removed: None, or for the weights that surgery removed from each group: their number, and
            the squares of their sums of gradients.
    """

    slot: np.ndarray
    scale: float
    steps: int
    axes: tuple | None
    removed: tuple | None

    @classmethod
    def of(cls, record, scale, steps):
        """The sums of a `Record`."""
        removed = record.removed and tuple(map(_array, record.removed))
        return cls(_array(record.slot), scale, steps, record.axes, removed)


def carry(record, old, weight, part):
    """Assign to the slots of a variable of the compact model.

    Args:
        record: the `Record` of the variable in the compact model; its slot has the kept part.
        old: the `Sums` of the large variable.
        weight: the large variable.
        part: the `VariableSlice` of the variable.
    """
    shift = part.shift if part.shift is not None and np.any(part.shift) else None
    if record.removed is not None:
        found = carried_groups(part, old, _array(weight), shift)
        for variable, value in zip((record.slot, *record.removed), found, strict=True):
            variable.assign(value)
    elif shift is not None:
        record.slot.assign(carried_weights(part, old, _array(weight), shift))


def _squares(array, axes):
    return np.square(array, dtype="float64").sum(axes, keepdims=True)


def carried_groups(part, old, weight, shift):
    """Slot, count and squares with which every group keeps its norm.

    Args:
        part: the `VariableSlice` of the variable.
        old: the `Sums` of the large variable.
        weight: array, the large variable.
        shift: the constant that was folded into the kept part, or None.
    """
    slot, axes, (count, squares) = old.slot, old.axes, old.removed
    total = _squares(slot, axes) + squares / old.steps**2
    size = slot.size // total.size + count
    kept, kept_total = part(slot), part.spanning(total)
    if shift is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            # The threshold scales all weights of a group by the same factor, which is computed
            # here.
            share = np.sqrt(_squares(weight, axes) / _squares(slot * old.scale, axes))
            moved = kept + np.where(shift == 0, 0.0, shift / (part.spanning(share) * old.scale))
            # If a folded constant makes a group larger, none of it may count as removed.
            norm = np.sqrt(_squares(part(weight) + shift, axes) / size)
            taken = part.spanning(np.abs(old.scale) * np.sqrt(total / size) * (1 - share))
            grown = (part(weight) + shift) * (1 + taken / norm) / old.scale
        kept = np.where(_squares(moved, axes) > kept_total, grown, moved)
    left = np.maximum(kept_total - _squares(kept, axes), 0.0)
    return kept, size - kept.size // left.size, left * old.steps**2


def carried_weights(part, old, weight, shift):
    """The slot from which thresholding by weight computes the shifted weights."""
    value, new = old.slot * old.scale, part(weight) + shift
    alive = weight != 0
    # 0 if the threshold only selects, and does not shrink.
    taken = np.median(np.abs(value[alive]) - np.abs(weight[alive])) if alive.any() else 0.0
    most = np.abs(value[~alive]).max(initial=0.0)
    carried = np.where(new != 0, new + np.sign(new) * taken, np.clip(part(value), -most, most))
    return carried / old.scale
