"""How many weights each layer gets: exact in integers, with a total that is known at run time."""

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
        int32 tensor of shape (n,) that sums to `total`, each within one of its exact share (or
        within 2^-24 of the total, for a total above 2^24).
    """
    # Shares as integers small enough that their sum fits: their running sum is then exact, and
    # rounding the running total instead of each part makes the parts add up.
    bits = INT_BITS - 2 - math.ceil(math.log2(max(shares.shape[0], 2)))
    units = ops.cast(shares / power_of_two_below(ops.max(shares)) * 2.0**bits, "int32")
    running = ops.cumsum(units)
    whole = running[-1]
    fraction = ops.cast(running, "float32") / ops.cast(whole, "float32")
    until = ops.cast(ops.round(fraction * ops.cast(total, "float32")), "int32")
    until = ops.where(ops.equal(running, whole), total, ops.minimum(until, total))
    return until - ops.pad(until[:-1], (1, 0))


def water_fill(wanted, free):
    """Moves what does not fit equally to where there is room, repeatedly, in closed form.

    Each layer gets `min(wanted + level, free)` with one level for all, and the few that an integer
    level leaves over go one each to the first layers with room.

    Args:
        wanted: int32 tensor of shape (n,).
        free: int32 tensor of shape (n,), the free places; their sum is at least that of `wanted`.

    Returns:
        int32 tensor of shape (n,), nowhere above `free`, with the sum of `wanted`.
    """
    total = ops.sum(wanted)
    base = ops.minimum(wanted, free)
    room = free - base
    # The sum is linear between the levels at which a layer becomes full: the last of those that
    # is not too high, and from there an equal part for each layer that still has room.
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
