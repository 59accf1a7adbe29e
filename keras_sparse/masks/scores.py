"""Random keys to rank weights, from a generator without state."""

import math

from keras import ops

# The mixing steps and constants of MurmurHash3's finalizer, as signed 32-bit integers.
_MIX_1 = 0x85EBCA6B - 2**32
_MIX_2 = 0xC2B2AE35 - 2**32
_GOLDEN = 0x9E3779B9 - 2**32


def random_keys(index, seed, step):
    """Random integers that depend on the arguments only.

    They are the same on every backend, replica and device, compiled or not, and after a restart. A
    random generator with a state does not ensure this in a compiled branch.

    Args:
        index: int32 tensor, one number for each key.
        seed: int32 scalar tensor.
        step: int32 scalar tensor.

    Returns:
        int32 tensor of the shape of `index`, uniform over [0, 2^31).
    """
    stream = _mix(_mix(ops.cast(seed, "int32") + _GOLDEN) + ops.cast(step, "int32"))
    return ops.bitwise_and(_mix(_mix(index + _GOLDEN) + stream), 0x7FFFFFFF)


def random_normal(index, seed, step):
    """Standard normal float32 numbers from `random_keys`, by the method of Box and Muller."""
    radius = _uniform(random_keys(index, seed, step))
    angle = _uniform(random_keys(index, seed + 1, step))
    return ops.sqrt(-2.0 * ops.log(radius)) * ops.cos(2.0 * math.pi * angle)


def _uniform(keys):
    """Floats in (0, 1)."""
    return (ops.cast(ops.right_shift(keys, 7), "float32") + 0.5) * 2.0**-24


def _mix(h):
    h = ops.bitwise_xor(h, _shift(h, 16)) * _MIX_1
    h = ops.bitwise_xor(h, _shift(h, 13)) * _MIX_2
    return ops.bitwise_xor(h, _shift(h, 16))


def _shift(h, bits):
    """Shift right with zeros; `right_shift` of a signed integer would repeat the sign bit."""
    return ops.bitwise_and(ops.right_shift(h, bits), 2 ** (32 - bits) - 1)
