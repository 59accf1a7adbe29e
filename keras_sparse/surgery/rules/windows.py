"""Finds which taps of a convolution's window the image border cuts off."""

import functools
import math

import numpy as np

from keras_sparse.surgery.constants import Partition
from keras_sparse.surgery.rules.base import channel_axis

# Largest number of sets of taps to examine.
_MOST = 1024


def tap_classes(call):
    """Finds which taps of a convolution's window lie inside the image.

    Args:
        call: a `Call` of a convolution layer.

    Returns:
        `(classes, profile)`: an array `(classes, taps)` of zeros and ones with every set of taps
        that a position can see, and an object that identifies these classes of positions. If an
        axis of the image is open, the array includes sets that only occur in small images.
        `classes` is None if there are too many sets.
    """
    return _classes(call, call.inputs[0].shape, [None] * call.operation.rank)


def padded_classes(call):
    """As `tap_classes`, for a convolution after a layer that pads with zeros.

    Returns:
        `(value, classes, profile)` with the `Value` before padding; None if there is no such layer.
    """
    source = call.inputs[0]
    padding, unit = source.producer, call.unit
    if call.operation.padding != "valid" or padding is None or padding.unit is unit:
        return None
    rule = padding.unit.rule
    if source is not padding.outputs[0]:  # a step of `TimeDistributed`
        return None
    if not rule.pads or not rule.beside(padding) or rule.value(padding) != 0.0:
        return None
    inside = padding.inputs[0]
    axis = channel_axis(call.operation.data_format, len(source.shape))
    if source.axis != axis or None in inside.shape[1:]:
        return None
    ends = np.delete(np.array(rule.widths(padding)), [0, axis % len(source.shape)], axis=0)
    return (inside, *_classes(call, inside.shape, ends.tolist()))


def _classes(call, shape, ends):
    """As `tap_classes`, given the image's shape and each axis' padding (or None)."""
    layer = call.operation
    axis = channel_axis(layer.data_format, len(shape)) % len(shape)
    sizes = [size for i, size in enumerate(shape) if i not in (0, axis)]
    window = *map(tuple, (layer.kernel_size, layer.strides, layer.dilation_rate)), tuple(sizes)
    ends = tuple(end and tuple(end) for end in ends)
    classes, shares = _of_all_axes(layer.padding, *window, ends)
    if classes is None or None in sizes:
        return classes, call
    key = (layer.padding, *window, axis - len(shape), ends)
    return classes, Partition(key, shares)


# Each layer calls this several times, and many layers have the same windows.
@functools.lru_cache(maxsize=256)
def _of_all_axes(padding, *parts):
    """`(classes, shares)` for windows and images of given sizes; `parts` are lists over axes."""
    axes = [_of_one_axis(padding, *part) for part in zip(*parts, strict=True)]
    if math.prod(len(seen) for seen, _ in axes) > _MOST:
        return None, None
    classes, shares = np.ones((1, 1)), np.ones(1)
    for seen, part in axes:
        classes, shares = np.kron(classes, seen), np.kron(shares, part)
    classes.flags.writeable = False
    return classes, tuple(shares.tolist())


def _of_one_axis(padding, taps, stride, dilation, size, ends):
    """`(classes, taps)` along one axis of the image, and the fraction of positions per class."""
    reach = (taps - 1) * dilation
    if padding == "valid" and ends is None:
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
    if ends is not None:
        left, right = ends
        positions = (left + size + right - reach - 1) // stride + 1
    seen = np.arange(positions)[:, None] * stride - left + np.arange(taps) * dilation
    inside = ((seen >= 0) & (seen < size)).astype(float)
    classes, counts = np.unique(inside, axis=0, return_counts=True)
    return classes, counts / positions
