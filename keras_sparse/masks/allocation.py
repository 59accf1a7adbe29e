"""Exact integer budgets of layers, for a total that is known only at run time."""

import math

from keras import ops

from keras_sparse.masks.selection import INT_BITS, power_of_two_below

# The smallest normal float32.
SMALLEST_SHARE = 2.0**-126


def proportional(total, shares):
    """Splits `total` in proportion to `shares`, exactly.

    Args:
        total: int32 scalar tensor.
        shares: float32 tensor of shape (n,), none negative, at least one `SMALLEST_SHARE` or more.
            Smaller ones count as 0, as in compiled code.

    Returns:
        int32 tensor of shape (n,) that sums to `total`. Each entry differs from its exact share by
        at most one (or 2^-24 of the total, for a total above 2^24).
    """
    # Shares become integers so small that their sum fits, so their running sum is exact. The parts
    # add up because the running total is rounded instead of each part.
    bits = INT_BITS - 2 - math.ceil(math.log2(max(shares.shape[0], 2)))
    units = ops.cast(shares / power_of_two_below(ops.max(shares)) * 2.0**bits, "int32")
    running = ops.cumsum(units)
    whole = running[-1]
    fraction = ops.cast(running, "float32") / ops.cast(whole, "float32")
    until = ops.cast(ops.round(fraction * ops.cast(total, "float32")), "int32")
    until = ops.where(ops.equal(running, whole), total, ops.minimum(until, total))
    return until - ops.pad(until[:-1], (1, 0))


def water_fill(wanted, free):
    """Distributes what does not fit equally over layers with room, in closed form.

    Each layer gets `min(wanted + level, free)` with one integer level for all layers. The few that
    remain go to the first layers with room, one each.

    Args:
        wanted: int32 tensor of shape (n,).
        free: int32 tensor of shape (n,), the free places; their sum is at least that of `wanted`.

    Returns:
        int32 tensor of shape (n,), at most `free`, with the sum of `wanted`.
    """
    total = ops.sum(wanted)
    base = ops.minimum(wanted, free)
    room = free - base
    # The sum is linear between the levels at which a layer becomes full. Find the last such level
    # that is not too high, and from there give an equal part to each layer that has room.
    levels = ops.pad(room, (1, 0))
    sums = ops.sum(base) + ops.sum(ops.minimum(ops.expand_dims(levels, 1), room), axis=1)
    level = ops.max(ops.where(sums <= total, levels, 0))
    left = total - ops.sum(base + ops.minimum(level, room))
    layers = ops.sum(ops.cast(room > level, "int32"))
    level = level + ops.floor_divide(left, ops.maximum(layers, 1))

    filled = base + ops.minimum(level, room)
    has_room = ops.cast(room > level, "int32")
    left = total - ops.sum(filled)
    return filled + has_room * ops.cast(ops.cumsum(has_room) <= left, "int32")
