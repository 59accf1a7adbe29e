"""The threshold that makes a network as sparse as was asked for."""

from keras import ops

_BISECTIONS = 20
# No variable is cut above this share of its largest value, so that none is emptied.
LARGEST_CUT = 0.9


def find_thresholds(magnitudes, group_sizes, sparsity):
    """Threshold per variable at which a share of all their weights is cut.

    One threshold serves all variables, found by bisection (a sort would cost 10 to 40 times as
    much), but none is cut above `LARGEST_CUT` of its own largest value.

    Args:
        magnitudes: list of tensors, not negative: one value for each group of each variable.
        group_sizes: list of ints, weights per group in each variable.
        sparsity: scalar tensor in [0, 1), the share of weights that are to be at or below their
            threshold.

    Returns:
        A list of scalar tensors. The share that they cut is at least `sparsity` (where the bounds
        allow it) and exceeds it by what lies within 2⁻²⁰ of the largest value.

    Example:

    >>> find_thresholds([ops.array([1.0, 2.0, 3.0, 4.0])], [1], 0.5)  # just above 2
    """
    bounds = [LARGEST_CUT * ops.max(m) for m in magnitudes]
    total = sum(
        size * m_size for size, m_size in zip(group_sizes, map(_size, magnitudes), strict=True)
    )

    def share_cut(threshold):
        cut = [
            (size / total) * ops.sum(ops.cast(m <= ops.minimum(threshold, bound), "float32"))
            for m, size, bound in zip(magnitudes, group_sizes, bounds, strict=True)
        ]
        return sum(cut)

    def halve(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        too_low = share_cut(middle) < sparsity
        return ops.where(too_low, middle, low), ops.where(too_low, high, middle)

    largest = ops.max(ops.stack(bounds))
    _, threshold = ops.fori_loop(0, _BISECTIONS, halve, (ops.zeros_like(largest), largest))
    return [ops.minimum(threshold, bound) for bound in bounds]


def _size(tensor):
    size = 1
    for length in tensor.shape:
        size *= length
    return size
