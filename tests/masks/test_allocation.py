import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_sparse.masks.allocation import SMALLEST_SHARE, proportional, water_fill
from keras_sparse.masks.backend import compiled

proportional = compiled(proportional)
water_fill = compiled(water_fill)
counts = st.integers(0, 10**6)


@given(
    total=st.integers(0, 2**24),
    shares=st.lists(
        st.floats(0, 2.0**99, width=32, allow_subnormal=False), min_size=5, max_size=5
    ).filter(any),
)
def test_proportional_parts_add_up_and_are_within_one(total, shares):
    shares = np.array(shares, "float32")
    parts = ops.convert_to_numpy(
        proportional(ops.convert_to_tensor(total, "int32"), ops.convert_to_tensor(shares))
    )
    exact = total * shares.astype("float64") / shares.astype("float64").sum()
    assert parts.sum() == total
    assert (parts >= 0).all()
    assert np.abs(parts - exact).max() <= 1 + 4e-7 * total


def test_a_share_too_small_to_be_normal_counts_as_none():
    shares = np.array([4e-42, SMALLEST_SHARE, 4e-42, SMALLEST_SHARE], "float32")
    parts = proportional(ops.convert_to_tensor(10, "int32"), ops.convert_to_tensor(shares))
    np.testing.assert_array_equal(ops.convert_to_numpy(parts), [0, 5, 0, 5])


def fill_by_rounds(wanted, free):
    """The rule as the paper words it: what is too much goes equally to the others, repeatedly."""
    given_out = np.minimum(wanted, free)
    left = int(wanted.sum() - given_out.sum())
    while left:
        room = np.flatnonzero(given_out < free)
        if left < len(room):
            given_out[room[:left]] += 1
            break
        step = min(left // len(room), int((free - given_out)[room].min()))
        given_out[room] += step
        left -= step * len(room)
    return given_out


@given(st.data())
def test_water_filling_keeps_the_total_and_is_the_repeated_rule(data):
    free = data.draw(st.lists(counts, min_size=6, max_size=6))
    total = data.draw(st.integers(0, sum(free)))
    cuts = sorted(data.draw(st.lists(st.integers(0, total), min_size=5, max_size=5)))
    cuts = [0, *cuts, total]
    wanted = np.diff(cuts).astype("int32")
    free = np.array(free, "int32")
    if wanted.sum() > free.sum():
        free = np.maximum(free, wanted)
    filled = ops.convert_to_numpy(
        water_fill(ops.convert_to_tensor(wanted), ops.convert_to_tensor(free))
    )
    assert filled.sum() == wanted.sum()
    assert (filled <= free).all()
    np.testing.assert_array_equal(filled, fill_by_rounds(wanted, free))
