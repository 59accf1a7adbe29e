"""The axes of a kernel: which hold its output channels, and which the inputs of one."""

import re

_TRANSPOSED = re.compile(r"conv(\dd)?_?transpose")
# Layers of Keras' attention whose kernels are (inputs, heads, outputs of a head).
_PROJECTIONS = ("query", "key", "value")


def channel_axes(path, shape):
    """Axes of a kernel that hold the incoming weights of one output channel.

    The last axis of a kernel is the output channel, except in these layers, which are recognised by
    their default names:

    - transposed convolutions (`conv2d_transpose`): the last axis but one;
    - depthwise convolutions: the last two axes, input channel and multiplier. A kernel with one
      multiplier is recognised by its shape `(..., channels, 1)`, under any name. A convolution with
      one filter has such a shape too, so each of its inputs is a group;
    - the query, key and value of attention: the last two axes, head and output.

    Args:
        path: the variable's path.
        shape: the variable's shape, before surgery.

    Returns:
        A tuple of axes.

    Example:

    >>> channel_axes("conv2d/kernel", (3, 3, 16, 32))
    (0, 1, 2)
    """
    layer, _ = _layer_and_name(path)
    last = len(shape) - 1
    if last > 1 and _TRANSPOSED.search(layer):
        channels = (last - 1,)
    elif is_depthwise(path, shape) or (last == 2 and layer in _PROJECTIONS):
        channels = (last - 1, last)
    else:
        channels = (last,)
    return tuple(axis for axis in range(len(shape)) if axis not in channels)


def is_depthwise(path, shape):
    """Whether a kernel is that of a depthwise convolution; see `channel_axes`."""
    layer, name = _layer_and_name(path)
    if len(shape) < 3 or name not in ("kernel", "depthwise_kernel"):
        return False
    return shape[-1] == 1 or "depthwise" in f"{layer}/{name}"


def _layer_and_name(path):
    return ["", *path.lower().split("/")][-2:]
