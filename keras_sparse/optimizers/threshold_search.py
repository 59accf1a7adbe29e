"""The threshold that makes a network as sparse as was asked for."""

import math

from keras import ops

_BISECTIONS = 20
# No variable is cut above this share of its largest value, so that none is emptied.
LARGEST_CUT = 0.9
# The channels of a layer lie closer together: a tenth of them stays.
_KEPT_CHANNELS = 0.1


def find_thresholds(magnitudes, sparsity, weights=None):
    """Threshold per variable at which a share of all their weights is cut.

    One threshold serves all variables, found by bisection (a sort would cost 10 to 40 times as
    much), but none is cut above `LARGEST_CUT` of its own largest value, and a tenth of the groups
    of a variable stays; where these bounds bite, the others give more.

    Args:
        magnitudes: list of tensors, not negative, one for each variable.
        sparsity: scalar tensor in [0, 1), the share of all values that are to be at or below
            their threshold.
        weights: list of int, how many weights each value of a variable stands for. By default one.

    Returns:
        A list of scalar tensors. The share that they cut is at least `sparsity`, unless all
        bounds bite, and exceeds it by what lies within 2⁻²⁰ of the largest value.

    Example:

    >>> find_thresholds([ops.array([1.0, 2.0, 3.0, 4.0])], 0.5)  # just above 2
    """
    weights = weights or [1] * len(magnitudes)
    parts = list(zip(magnitudes, map(_bound, magnitudes, weights), weights, strict=True))
    total = sum(math.prod(values.shape) * weight for values, _, weight in parts)

    def share_cut(threshold):
        cut = [
            ops.sum(ops.cast(values <= ops.minimum(threshold, bound), "float32")) * (weight / total)
            for values, bound, weight in parts
        ]
        return sum(cut)

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        too_low = share_cut(middle) < sparsity
        return ops.where(too_low, middle, low), ops.where(too_low, high, middle)

    bounds = [bound for _, bound, _ in parts]
    largest = ops.max(ops.stack(bounds))
    _, threshold = ops.fori_loop(0, _BISECTIONS, halve, (ops.zeros_like(largest), largest))
    return [ops.minimum(threshold, bound) for bound in bounds]


def _bound(values, weight):
    if weight == 1:
        return LARGEST_CUT * ops.max(values)
    values = ops.sort(ops.reshape(values, (-1,)))
    kept = math.ceil(_KEPT_CHANNELS * values.shape[0])
    # The largest of those that may go; below all of them where none may.
    return values[-kept - 1] if kept < values.shape[0] else -ops.ones((), values.dtype)
