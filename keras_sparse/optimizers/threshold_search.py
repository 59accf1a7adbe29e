"""The threshold for a share of zeros."""

import math

import numpy as np
from keras import ops

from keras_sparse.masks.backend import compiles_for_gpu
from keras_sparse.masks.digits import count_candidates, largest_where
from keras_sparse.masks.packing import Packing

_BISECTIONS = 20
# The threshold is at most this share of a variable's largest value, so that none becomes empty.
LARGEST_CUT = 0.9
# Sums of float32 miss a share by so much of it; without this, one value more became zero.
_ROUNDING = 2.0**-22
# The channels of a layer lie closer together: a tenth of them stays.
_KEPT_CHANNELS = 0.1


def find_thresholds(magnitudes, sparsity, weights=None, removed=None):
    """Threshold per variable at which a share of all their weights becomes zero.

    All variables have the same threshold, found by bisection (a sort would cost 10 to 40 times as
    much). But a variable's threshold is at most `LARGEST_CUT` of its largest value, and a tenth of
    its groups stays; where these bounds apply, more is taken from the other variables.

    Args:
        magnitudes: list of tensors, not negative, one for each variable.
        sparsity: scalar tensor below 1, the share of all values that are to be at or below
            their threshold.
        weights: list of int, how many weights each value of a variable stands for. By default one.
        removed: list of int, how many values surgery removed from each variable; a tenth of all
            of them is kept. Defaults to none.

    Returns:
        A list of scalar tensors. The share of values that they set to zero is at least `sparsity`,
        unless all bounds apply, and exceeds it by what lies within 2⁻²⁰ of the largest value.

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
    """The threshold for all variables, in a loop that halves a bracket.

    Args:
        parts: list of a variable's values, the largest threshold that it takes, and the share of
            all weights that a value of it stands for.
        largest: scalar tensor, the largest threshold of all.
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
    """The same without a loop, faster on a GPU; it may differ in the last bit."""
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
    # The largest of those that may become zero; below all of them if none may.
    return values[-kept - 1] if kept < values.shape[0] else -ops.ones((), values.dtype)
