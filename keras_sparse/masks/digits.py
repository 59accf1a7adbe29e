"""Searches for a GPU: many candidates at once, and no loop.

On a GPU the host launches each iteration of a loop. XLA can put a conditional into a CUDA graph, so
that the host need not wait, but only if it contains no loop. On a CPU a loop over single bits is
faster, because the candidates of a digit are compared one after the other.
"""

from keras import ops

DIGIT_BITS = 4


def largest_where(holds, bits, num_groups):
    """The largest integer of each group that passes a test, found digit by digit.

    Args:
        holds: function of an int32 tensor of shape (groups, n) that returns a bool tensor of the
            same shape. If it is true for an integer of a group, it must be true for all smaller
            ones.
        bits: int, at most 31.
        num_groups: int.

    Returns:
        int32 tensor of shape (groups,), below `2**bits`; 0 where no larger integer passes.
    """
    value = ops.zeros((num_groups,), "int32")
    while bits > 0:
        # The first digit has fewer bits, so that all others are complete.
        digit_bits = bits % DIGIT_BITS or DIGIT_BITS
        bits -= digit_bits
        steps = ops.convert_to_tensor([d << bits for d in range(1, 2**digit_bits)], "int32")
        passed = holds(ops.expand_dims(value, -1) + steps)
        value = value + ops.left_shift(ops.sum(ops.cast(passed, "int32"), axis=-1), bits)
    return value


def count_candidates(flags, packing):
    """How many flags of each candidate are true, by group.

    Args:
        flags: bool of shape (rows, n, width), the packed booleans of n candidates.
        packing: their `Packing`.

    Returns:
        int32 of shape (groups, n).
    """
    return packing.sum_rows(ops.sum(ops.cast(flags, "int32"), axis=-1))
