"""Soft-thresholding, per weight or per group: the proximal operator of the l1 and group norms.

`axes=None` means per weight. Otherwise the weights that differ only in their index along `axes`
form one group, and all weights of a group become zero together.
"""

import math

from keras import ops


def group_size(x, axes=None, removed=None):
    """Size of each group, to compare with a threshold: ‖x_group‖/√size, or |x| per weight.

    Args:
        x: tensor.
        axes: None, or the axes of a group.
        removed: None, or `(count, sum of squares of each group)` of the weights that surgery
            removed from the groups; they still count in the norms.

    Returns:
        A tensor like `x`, but of length 1 along `axes`.
    """
    if axes is None:
        return ops.abs(x)
    mean = ops.mean(ops.square(x), axis=axes, keepdims=True)
    if removed is not None:
        count, squares = removed
        own = math.prod(x.shape[axis] for axis in axes)
        mean = mean * (own / (own + count)) + squares / (own + count)
    return ops.sqrt(mean)


def soft_threshold(x, threshold, axes=None, removed=None):
    """Proximal operator of `threshold·‖x‖₁`, or of the group norm scaled by √size.

    Per weight, sign(x)·max(|x| − threshold, 0). Per group,
    x·max(1 − threshold·√size/‖x_group‖, 0). Zeros are +0.0 (also for x = −0.0). NaN stays NaN, so
    that a diverged network does not look sparse.

    Args:
        x: tensor.
        threshold: scalar tensor or float, not negative.
        axes: None, or the axes of a group.
        removed: see `group_size`.

    Returns:
        A tensor like `x`.

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, equation 6;
        the group form is from Yuan and Lin, 2006.
    """
    if axes is None:
        return x - ops.clip(x, -threshold, threshold)
    size = group_size(x, axes, removed)
    shrink = 1.0 - threshold / ops.where(size == 0.0, 1.0, size)
    return ops.where(size <= threshold, 0.0, x * shrink)
