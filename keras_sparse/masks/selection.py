"""Exact selection of the k largest, for a k that is known only when the step runs.

Floats that are not negative have the same order as the integers with the same bits. The k-th
largest of these integers is found bit by bit, with one count per bit. This takes 31 passes and no
sort, and `k` may be a traced value under XLA. On a GPU one pass finds four bits.
"""

from keras import ops

from keras_sparse.masks.backend import compiles_for_gpu
from keras_sparse.masks.digits import count_candidates, largest_where

INT_MAX = 2**31 - 1
INT_BITS = 31


def magnitude_keys(x):
    """Integers with the same order as |x|.

    Args:
        x: float tensor of any dtype.

    Returns:
        int32 tensor of the same shape, none negative. Infinity is above all numbers and NaN above
        infinity; -0.0 and 0.0 are equal.
    """
    return ops.view(ops.abs(ops.cast(x, "float32")), "int32")


def select_largest(keys, k, packing, among):
    """Marks the k largest of each group; among equal keys the first by index.

    Args:
        keys: packed int32, not negative, as `magnitude_keys` makes them.
        k: int32 tensor of shape (groups,). If it exceeds the number of candidates, all are marked.
        packing: the `Packing` of `keys`.
        among: packed bool, the candidates.

    Returns:
        Packed bool with exactly `min(k, candidates)` true in each group.
    """
    keys = ops.where(among, keys, -1)
    find = find_by_digits if compiles_for_gpu() else find_by_bits
    key, stop = find(keys, k, packing)
    return _selected(keys, packing.index(), packing.spread(key), packing.spread(stop))


def _selected(keys, index, key, stop):
    # Above the key, or equal and before the stop. XLA makes no branches of a single comparison.
    return keys - ops.cast(index >= stop, "int32") >= key


def find_by_bits(keys, k, packing):
    """The limits that `select_largest` selects by, found in a loop over the bits.

    Args:
        keys: packed int32, -1 for entries that are no candidates.
        k: int32 tensor of shape (groups,).
        packing: the `Packing` of `keys`.

    Returns:
        Two int32 tensors of shape (groups,): the smallest selected key, and the index from which
        entries with that key are not selected.
    """
    index = packing.index()
    index_bits = _index_bits(packing)
    # Keras turns Python numbers into integers as wide as floatx.
    one, key_bits, all_bits = (
        ops.convert_to_tensor(n, "int32") for n in (1, INT_BITS, INT_BITS + index_bits)
    )

    def goes_on(i, key, stop, reached):
        # Equal keys are either rare or very many (regrown weights, dead inputs). The bits of the
        # index are searched only if not all entries with an equal key are selected.
        return ops.logical_or(i < INT_BITS, ops.any(reached > k))

    def body(i, key, stop, reached):
        # XLA compiles one loop for both searches in half the time of two loops.
        of_key = i < INT_BITS
        bit = ops.left_shift(one, ops.where(of_key, key_bits, all_bits) - 1 - i)
        next_key = ops.where(of_key, ops.bitwise_or(key, bit), key)
        next_stop = ops.where(of_key, stop, ops.bitwise_or(stop, bit))
        above = next_key - ops.cast(of_key, "int32")
        count = packing.count(
            _selected(keys, index, packing.spread(above), packing.spread(next_stop))
        )
        holds = ops.where(of_key, count >= k, count <= k)
        return (
            i + 1,
            ops.where(holds, next_key, key),
            ops.where(holds, next_stop, stop),
            ops.where(ops.logical_and(of_key, holds), count, reached),
        )

    zeros = ops.zeros((packing.num_groups,), "int32")
    # The start for groups with fewer than k keys above 0, where no candidate passes the test.
    start = (ops.zeros((), "int32"), zeros, zeros, zeros + INT_MAX)
    _, key, stop, reached = ops.while_loop(
        goes_on, body, start, maximum_iterations=INT_BITS + index_bits
    )
    return key, ops.where(reached > k, stop, INT_MAX)


def find_by_digits(keys, k, packing):
    """The same as `find_by_bits`, without a loop; faster on a GPU."""
    keys = ops.expand_dims(keys, 1)
    index = ops.expand_dims(packing.index(), 1)
    k = ops.expand_dims(k, -1)

    def reaches_k(key):
        return count_candidates(keys >= packing.spread(key), packing) >= k

    def stays_within_k(stop):
        selected = _selected(keys, index, last, packing.spread(stop))
        return count_candidates(selected, packing) <= k

    key = largest_where(reaches_k, INT_BITS, packing.num_groups)
    last = ops.expand_dims(packing.spread(key), 1)
    return key, largest_where(stays_within_k, _index_bits(packing), packing.num_groups)


def _index_bits(packing):
    return int(packing.sizes.max()).bit_length()


def select_globally(keys, k, packing, among):
    """Marks the k largest of all groups together, and at least the largest one of each group.

    Args:
        keys: packed int32, not negative.
        k: int32 scalar, at least the number of groups that have a candidate.
        packing: the `Packing` of `keys`.
        among: packed bool, the candidates.

    Returns:
        Packed bool with exactly `min(k, candidates)` true in total.
    """
    ones = ops.ones((packing.num_groups,), "int32")
    best = select_largest(keys, ones, packing, among)
    keys = ops.where(best, INT_MAX, keys)
    return select_largest(keys, ops.reshape(k, (1,)), packing.merged(), among)


def mean_magnitude(x, among, packing):
    """Mean of |x| over the marked entries of each group, bit-identical compiled or not.

    A sum of floats depends on the order of the additions, which differs between eager code, XLA and
    devices. The shares of a budget must not differ. So magnitudes are summed as integers, in units
    of 2^-23 of the power of two below the largest magnitude of the group.

    Args:
        x: packed float32. Values that are not finite count as 0.
        among: packed bool.
        packing: their `Packing`.

    Returns:
        float32 of shape (groups,); 0 for a group without a marked entry.
    """
    x = ops.where(ops.logical_and(among, ops.isfinite(x)), ops.abs(x), 0.0)
    largest = ops.segment_max(
        ops.max(x, axis=-1),
        ops.convert_to_tensor(packing.group_of_row),
        num_segments=packing.num_groups,
    )
    scale = power_of_two_below(largest)
    units = ops.cast(x / packing.spread(scale) * 2.0**23, "int32")
    total = _exact_sum(units, packing)
    count = ops.cast(ops.maximum(packing.count(among), 1), "float32")
    return total * 2.0**-23 / count * scale


def power_of_two_below(x):
    """The largest power of two up to x, and 1 for 0; a division by it does not round."""
    exponent = ops.bitwise_and(ops.view(x, "int32"), 0x7F800000)
    return ops.where(exponent > 0, ops.view(exponent, "float32"), 1.0)


def _exact_sum(units, packing):
    """Sum by group of packed integers below 2^24, as float32, added in one fixed order."""
    # The sum of a row of 256 fits uint32. Then 8 bits of each row, over all rows, fit an int32.
    rows = ops.expand_dims(ops.sum(ops.cast(units, "uint32"), axis=1), -1)
    bits = (24, 16, 8, 0)
    shifted = ops.right_shift(rows, ops.convert_to_tensor(bits, "uint32"))
    sums = packing.sum_rows(ops.cast(ops.bitwise_and(shifted, 0xFF), "int32"))
    total = ops.zeros((packing.num_groups,), "float32")
    for k, bit in enumerate(bits):
        total = total + ops.cast(sums[:, k], "float32") * 2.0**bit
    return total
