"""The optimizer's state across a cut, such that the next step starts from where the last ended."""

import dataclasses
import re

import keras
import numpy as np

from keras_sparse import surgery
from keras_sparse.optimizers.proximal import channel_axes
from keras_sparse.variables import is_prunable


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
    whole = _inner(model.optimizer)
    excluded = getattr(whole, "exclude", None)
    try:
        if excluded is not None:
            whole.exclude = (*excluded, *_new_names(excluded, report.cuts))
        optimizer = surgery.slice_optimizer(model.optimizer, report, smaller)
    finally:
        if excluded is not None:
            whole.exclude = excluded
    own = _inner(optimizer)
    for path, mask in getattr(own, "masks", {}).items():
        _widen(mask, _by_path(smaller)[path])
    if hasattr(own, "groups"):
        _settle(whole, own, model, smaller, report)
    return optimizer


def _inner(optimizer):
    # Mixed precision wraps the optimizer in a LossScaleOptimizer.
    return getattr(optimizer, "inner_optimizer", optimizer)


def _array(variable):
    return keras.ops.convert_to_numpy(variable)


def _by_path(model):
    return {variable.path: variable for variable in model.trainable_variables}


def _new_names(patterns, cuts):
    """Patterns for the variables that were excluded by a path that surgery changed.

    Sequential models name their variables `"sequential/dense/kernel"`, what is made of them
    `"dense/kernel"`.
    """
    return [
        f"^{re.escape(path)}$"
        for path, cut in cuts.items()
        if cut.source
        and any(re.search(pattern, cut.source) for pattern in patterns)
        and not any(re.search(pattern, path) for pattern in patterns)
    ]


def _widen(mask, variable):
    """A constant folded into a weight that was masked may not be lost in the next step."""
    mask.assign(np.logical_or(_array(mask), _array(variable) != 0))


def _settle(whole, own, model, smaller, report):
    """Make the next thresholding give the weights that are there.

    By channel, the threshold of dual averaging is compared with the norm over all that a channel
    reads. What is cut out of that goes on counting; where the optimizer has no slot for it, and
    where a constant was folded into a weight, the accumulator is set anew.
    """
    olds, news = _by_path(model), _by_path(smaller)
    old_slots, new_slots = _accumulators(whole, olds), _accumulators(own, news)
    gone = {slot.name: slot for slot in own.variables if "_gone_" in slot.name}
    kernels = [path for path, variable in news.items() if is_prunable(variable)]
    for path, (slot, scale) in new_slots.items():
        part = report.cuts[path]
        if part.source not in old_slots:
            continue
        # The last kernel is thresholded by weight, whatever the groups.
        grouped = own.groups == "channel" and path != kernels[-1]
        axes = channel_axes(path.rsplit("/", 1)[-1], part.shape) if grouped else ()
        narrowed = any(slot.shape[axis] != part.shape[axis] for axis in axes)
        shifted = part.shift is not None and np.any(part.shift)
        old, name = _array(old_slots[part.source][0]), path.replace("/", "_")
        if narrowed and not shifted and f"{name}_gone_count" in gone:
            count, squares = _gone(part, old, axes)
            gone[f"{name}_gone_count"].assign_add(count)
            gone[f"{name}_gone_squares"].assign_add(squares)
        elif narrowed or shifted:
            threshold = _threshold(old * scale, _array(olds[part.source]), axes)
            value = _settled(part(old) * scale, _array(news[path]), threshold, axes)
            slot.assign(value / scale)


def _gone(part, accumulator, axes):
    """How many weights each kept channel loses, and the sum of their accumulators' squares."""
    squares = np.square(accumulator)
    kept = part(squares)
    everywhere = [None if axis in axes else i for axis, i in enumerate(part.indices)]
    before = dataclasses.replace(part, indices=everywhere)(squares).sum(axes, keepdims=True)
    lost = np.maximum(before - kept.sum(axes, keepdims=True), 0.0)
    sizes = [np.prod([array.shape[axis] for axis in axes]) for array in (squares, kept)]
    return sizes[0] - sizes[1], lost


def _accumulators(optimizer, variables):
    """`{path: (slot, scale)}`: slot times scale is what the threshold is applied to."""
    step = float(optimizer.learning_rate) * np.sqrt(max(int(optimizer.iterations), 1))
    scales = {"accumulator": 1.0, "gradient_average": -step}
    slots = {slot.name: slot for slot in optimizer.variables}
    return {
        path: (slots[name], scale)
        for path, variable in variables.items()
        for kind, scale in scales.items()
        if is_prunable(variable, optimizer.exclude)
        and (name := f"{path.replace('/', '_')}_{kind}") in slots
    }


def _size(values, axes):
    """Size of each group, as thresholds are compared with it."""
    if not axes:
        return np.abs(values)
    return np.sqrt(np.mean(np.square(values), axis=axes, keepdims=True))


def _threshold(accumulator, weight, axes):
    """What was taken off every group that is not zero; None if all are."""
    sizes = _size(weight, axes)
    alive = sizes > 0
    taken = (_size(accumulator, axes) - sizes)[alive]
    return max(float(np.median(taken)), 0.0) if taken.size else None


def _settled(accumulator, weight, threshold, axes):
    """The accumulator that thresholding turns into the weight, as near as can be."""
    if threshold is None:
        return accumulator
    sizes, own = _size(weight, axes), _size(accumulator, axes)
    with np.errstate(divide="ignore", invalid="ignore"):
        alive = weight * (1.0 + threshold / sizes)
        dead = accumulator * np.minimum(1.0, threshold / own)
    return np.where(sizes > 0, alive, np.where(own > 0, dead, 0.0))
