"""The optimizer's state across a cut, such that the next step starts from where the last ended."""

import dataclasses

import keras
import numpy as np

from keras_sparse import surgery
from keras_sparse.channels.adam import bare_optimizer
from keras_sparse.optimizers.proximal import channel_axes


def carry_optimizer(model, smaller, report):
    """The optimizer of a trained model for the smaller one.

    Slots are those of the kept weights, see `surgery.slice_optimizer`. Beyond that, what decides
    about zeros is kept in step with the weights: masks contain every weight that is not zero, and
    what dual averaging makes the weights from gives the weights that are there.

    Args:
        model, smaller: the models before and after surgery.
        report: the `surgery.Report`.

    Returns:
        An optimizer, built on `smaller`'s trainable variables.
    """
    optimizer = surgery.slice_optimizer(model.optimizer, report, smaller)
    whole, own = bare_optimizer(model.optimizer), bare_optimizer(optimizer)
    for path, mask in getattr(own, "masks", {}).items():
        _widen(mask, _by_path(smaller)[path])
    if hasattr(own, "groups"):
        _settle(whole, own, model, smaller, report)
    return optimizer


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


def _by_path(model):
    return {variable.path: variable for variable in model.trainable_variables}


def _widen(mask, variable):
    """A constant folded into a weight that was masked may not be lost in the next step."""
    mask.assign(np.logical_or(_array(mask), _array(variable) != 0))


def _settle(whole, own, model, smaller, report):
    """Make the next thresholding of dual averaging start from the weights that are there.

    By channel, the threshold is compared with the norm over all that a channel reads; what is cut
    out of that goes on counting in slots of its own. Where a constant was folded into a weight,
    what the weight is made from changes with it.
    """
    olds, news = _by_path(model), _by_path(smaller)
    old_sums, new_sums = _sums(whole, olds), _sums(own, news)
    for path, new in new_sums.items():
        part = report.cuts[path]
        if part.source not in old_sums:
            continue
        old, weight = old_sums[part.source], _array(olds[part.source])
        shift = part.shift if part.shift is not None and np.any(part.shift) else None
        if new.gone is not None:
            found = _settled_groups(part, old, weight, shift)
            for variable, value in zip((new.slot, *new.gone), found, strict=True):
                variable.assign(value)
        elif shift is not None:
            new.slot.assign(_settled_weights(part, old, weight, shift))


@dataclasses.dataclass(frozen=True)
class _Sums:
    """What dual averaging makes a variable from.

    Attributes:
        slot: the optimizer's variable, a sum of gradients or their mean.
        scale: slot times scale is what the threshold is applied to.
        steps: the sum of gradients divided by the slot.
        axes: axes of the variable over which a group spreads.
        gone: None where weights are thresholded one by one; else the slots for what was cut out of
            each group: how many weights, and the squares of their sums of gradients.
    """

    slot: object
    scale: float
    steps: int
    axes: tuple
    gone: tuple | None


def _sums(optimizer, variables):
    """`{path: _Sums}` of the variables that are thresholded."""
    steps = max(int(optimizer.iterations), 1)
    step = float(optimizer.learning_rate) * np.sqrt(steps)
    kinds = {"accumulator": (1.0, 1), "gradient_average": (-step, steps)}
    slots = {slot.name: slot for slot in optimizer.variables}
    thresholded = {v.path for v in optimizer.thresholded_variables}
    found = {}
    for path, variable in variables.items():
        name = path.replace("/", "_")
        for kind, scale_and_steps in kinds.items():
            if f"{name}_{kind}" in slots and path in thresholded:
                axes = channel_axes(path.rsplit("/", 1)[-1], variable.shape)
                gone = [slots.get(f"{name}_gone_{what}") for what in ("count", "squares")]
                gone = None if gone[0] is None else tuple(gone)
                found[path] = _Sums(slots[f"{name}_{kind}"], *scale_and_steps, axes, gone)
    return found


def _squares(array, axes):
    return np.square(array, dtype="float64").sum(axes, keepdims=True)


def _settled_groups(part, old, weight, shift):
    """Slot, count and squares with which every group's norm is what it was.

    Args:
        part: the `Cut`.
        old: the `_Sums` of the large model.
        weight: array, the variable of the large model.
        shift: what was folded into the kept part, or None.
    """
    slot, axes, (count, squares) = _array(old.slot), old.axes, map(_array, old.gone)
    total = _squares(slot, axes) + squares / old.steps**2
    size = slot.size // total.size + count
    kept, kept_total = part(slot), part.spanning(total)
    if shift is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            # The share of each group that the threshold leaves, the same for all its weights.
            share = np.sqrt(_squares(weight, axes) / _squares(slot * old.scale, axes))
            moved = kept + np.where(shift == 0, 0.0, shift / (part.spanning(share) * old.scale))
            # Where a fold makes a group larger than it was, nothing of it may count as gone.
            norm = np.sqrt(_squares(part(weight) + shift, axes) / size)
            taken = part.spanning(np.abs(old.scale) * np.sqrt(total / size) * (1 - share))
            grown = (part(weight) + shift) * (1 + taken / norm) / old.scale
        kept = np.where(_squares(moved, axes) > kept_total, grown, moved)
    left = np.maximum(kept_total - _squares(kept, axes), 0.0)
    return kept, size - kept.size // left.size, left * old.steps**2


def _settled_weights(part, old, weight, shift):
    """The slot that thresholding weight by weight turns into the weights, shift included."""
    value, new = _array(old.slot) * old.scale, part(weight) + shift
    alive = weight != 0
    # 0 where the threshold chooses only, and does not shrink.
    taken = np.median(np.abs(value[alive]) - np.abs(weight[alive])) if alive.any() else 0.0
    most = np.abs(value[~alive]).max(initial=0.0)
    settled = np.where(new != 0, new + np.sign(new) * taken, np.clip(part(value), -most, most))
    return settled / old.scale
