"""The threshold for a share of zeros."""

import math

import numpy as np
from keras import ops

from keras_sparse.masks.backend import compiles_for_gpu
from keras_sparse.masks.digits import count_candidates, largest_where
from keras_sparse.masks.packing import Packing

_BISECTIONS = 20
# The threshold is at most this share of a variable's largest value, so that no variable becomes
# empty.
LARGEST_CUT = 0.9
# Relative rounding error of a sum of float32; without it, one value too many became zero.
_ROUNDING = 2.0**-22
# Norms of the channels of a layer are closer together, so at least a tenth of them is kept.
_KEPT_CHANNELS = 0.1


def find_thresholds(magnitudes, sparsity, weights=None, removed=None):
    """Threshold per variable at which a share of all their weights becomes zero.

    All variables have the same threshold, found by bisection (a sort would take 10 to 40 times as
    long). But a variable's threshold is at most `LARGEST_CUT` of its largest value, and a tenth of
    its groups stays. If these bounds apply, more values of the other variables become zero.

    Args:
        magnitudes: list of tensors, not negative, one for each variable.
        sparsity: scalar tensor below 1, the share of all values that should be at or below their
            threshold.
        weights: list of int, how many weights each value of a variable represents. Defaults to one.
        removed: list of int, how many values surgery removed from each variable; the tenth that
            is kept is a tenth of all, with these. Defaults to none.

    Returns:
        A list of scalar tensors. The share of values that they set to zero is at least `sparsity`,
        unless all bounds apply. It exceeds `sparsity` only by values within 2⁻²⁰ of the largest
        value.

    Example:

    >>> find_thresholds([ops.array([1.0, 2.0, 3.0, 4.0])], 0.5)  # just above 2
    """
    weights = weights or [1] * len(magnitudes)
    bounds = list(map(_bound, magnitudes, weights, removed or [0] * len(magnitudes)))
    largest = ops.max(ops.stack(bounds))
    total = sum(math.prod(v.shape) * weight for v, weight in zip(magnitudes, weights, strict=True))
    parts = list(zip(magnitudes, bounds, [w / total for w in weights], strict=True))
    find = threshold_by_digits if compiles_for_gpu() else threshold_by_halves
    threshold = find(parts, largest, sparsity * (1.0 - _ROUNDING))
    return [ops.minimum(threshold, bound) for bound in bounds]


def threshold_by_halves(parts, largest, sparsity):
    """The threshold for all variables, by bisection in a loop.

    Args:
        parts: list with one tuple per variable: its values, its largest allowed threshold, and the
            share of all weights that one value represents.
        largest: scalar tensor, the largest threshold of all variables.
        sparsity: scalar tensor, the share of all weights to become zero.

    Returns:
        A scalar tensor, not above `largest`.
    """

    def share_cut(threshold):
        return sum(
            ops.sum(ops.cast(values <= ops.minimum(threshold, bound), "float32")) * share
            for values, bound, share in parts
        )

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        too_low = share_cut(middle) < sparsity
        return ops.where(too_low, middle, low), ops.where(too_low, high, middle)

    bracket = ops.zeros_like(largest), largest
    return ops.fori_loop(0, _BISECTIONS, halve, bracket)[1]


def threshold_by_digits(parts, largest, sparsity):
    """`threshold_by_halves` without a loop, faster on a GPU; it may differ in the last bit."""
    values, bounds, shares = zip(*parts, strict=True)
    packing = Packing([v.shape for v in values])
    packed = ops.expand_dims(packing.pack(values, np.nan), 1)  # no threshold reaches the padding
    bounds = ops.expand_dims(ops.stack(bounds), -1)
    shares = ops.expand_dims(ops.convert_to_tensor(shares, "float32"), -1)

    def thresholds(step):
        return ops.cast(step, "float32") * 2.0**-_BISECTIONS * largest

    def is_too_low(steps):
        tried = packing.spread(ops.minimum(thresholds(steps), bounds))
        below = ops.cast(count_candidates(packed <= tried, packing), "float32")
        return ops.sum(below * shares, axis=0, keepdims=True) < sparsity

    return thresholds(largest_where(is_too_low, _BISECTIONS, 1)[0] + 1)


def _bound(values, weight, removed):
    if weight == 1:
        return LARGEST_CUT * ops.max(values)
    values = ops.sort(ops.reshape(values, (-1,)))
    kept = math.ceil(_KEPT_CHANNELS * (values.shape[0] + removed))
    # The largest value that may become zero, or a number below all values if none may.
    return values[-kept - 1] if kept < values.shape[0] else -ops.ones((), values.dtype)
