"""The windows of convolutions, and what the border of the image cuts off."""

import math

import numpy as np

from keras_sparse.surgery.constants import Partition
from keras_sparse.surgery.rules.base import channel_axis

# Largest number of sets of taps that is looked at.
_MOST = 1024


def tap_classes(call):
    """Which taps of a convolution's window lie inside the image.

    Args:
        call: a `Call` of a convolution layer.

    Returns:
        `(classes, profile)`: an array `(classes, taps)` of zeros and ones with every set of taps
        that a position can see, and what identifies these classes of positions. Where an axis of
        the image is open, sets are among them that only small images have. `classes` is None if
        there are too many.
    """
    layer, shape = call.operation, call.inputs[0].shape
    axis = channel_axis(layer.data_format, len(shape)) % len(shape)
    sizes = [size for i, size in enumerate(shape) if i not in (0, axis)]
    window = layer.kernel_size, layer.strides, layer.dilation_rate
    axes = [_of_one_axis(layer.padding, *part) for part in zip(*window, sizes, strict=True)]
    if math.prod(len(seen) for seen, _ in axes) > _MOST:
        return None, call
    classes, shares = np.ones((1, 1)), np.ones(1)
    for seen, part in axes:
        classes, shares = np.kron(classes, seen), np.kron(shares, part)
    if None in sizes:
        return classes, call
    key = (layer.padding, *map(tuple, window), tuple(sizes), axis - len(shape))
    return classes, Partition(key, tuple(shares.tolist()))


def _of_one_axis(padding, taps, stride, dilation, size):
    """`(classes, taps)` along one axis of the image, and the share of each class."""
    reach = (taps - 1) * dilation
    if padding == "valid":
        return np.ones((1, taps)), np.ones(1)
    if size is None:
        left, right = (taps // 2, taps // 2) if padding == "same" else (taps - 1, 0)
        tap = np.arange(taps)
        ends = [(first, last) for first in range(left + 1) for last in range(right + 1)]
        seen = np.array([(tap >= first) & (tap < taps - last) for first, last in ends], float)
        return seen, np.full(len(ends), np.nan)
    positions = -(-size // stride)
    left = max((positions - 1) * stride + reach + 1 - size, 0) // 2
    if padding == "causal":
        left = reach
    seen = np.arange(positions)[:, None] * stride - left + np.arange(taps) * dilation
    inside = ((seen >= 0) & (seen < size)).astype(float)
    classes, counts = np.unique(inside, axis=0, return_counts=True)
    return classes, counts / positions
