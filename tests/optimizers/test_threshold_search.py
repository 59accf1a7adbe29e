from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_sparse.optimizers.threshold_search import LARGEST_CUT, find_thresholds

either_device = pytest.mark.parametrize("for_gpu", [False, True], ids=["cpu", "gpu"])


def thresholds(for_gpu, values, *arguments):
    module = "keras_sparse.optimizers.threshold_search"
    with mock.patch(f"{module}.compiles_for_gpu", return_value=for_gpu):
        found = find_thresholds([ops.array(v) for v in values], *arguments)
    return [float(ops.convert_to_numpy(threshold)) for threshold in found]


@either_device
@given(
    st.lists(st.integers(1, 300), min_size=1, max_size=4),
    st.floats(0, 0.99),
    st.integers(0, 2**31),
)
def test_cuts_the_share_asked_for_or_as_much_as_the_bounds_allow(for_gpu, sizes, sparsity, seed):
    rng = np.random.default_rng(seed)
    values = [np.abs(rng.normal(0, rng.uniform(0.01, 1), n)).astype("float32") for n in sizes]
    found = thresholds(for_gpu, values, sparsity)
    cut = [v <= t for v, t in zip(values, found, strict=True)]
    share = sum(c.sum() for c in cut) / sum(sizes)
    bounded = [np.float32(LARGEST_CUT) * v.max() for v in values]
    if share < sparsity - 1e-6:
        np.testing.assert_allclose(found, bounded, rtol=1e-6)
    else:
        # One value less would be too few, but for what bisection cannot tell apart.
        resolution = 2**-18 * max(bounded)
        fewer = [v <= t - resolution for v, t in zip(values, found, strict=True)]
        assert sum(f.sum() for f in fewer) / sum(sizes) <= sparsity + 1e-6
    assert all(not c.all() for c in cut)


@either_device
@given(st.integers(2, 200), st.data())
def test_a_share_that_is_met_exactly_takes_no_value_more(for_gpu, size, data):
    values = np.linspace(1.0, 1.2, size, dtype="float32")  # half of them below the bound
    zeros = data.draw(st.integers(0, size // 3))
    (found,) = thresholds(for_gpu, [values], zeros / size)
    assert (values <= found).sum() == zeros


@either_device
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 0.99), st.integers(0, 2**31))
def test_of_the_channels_of_a_layer_a_tenth_stays(for_gpu, first, second, sparsity, seed):
    rng = np.random.default_rng(seed)
    values = [rng.uniform(0.95, 1.05, n).astype("float32") for n in (first, second)]
    weights = [9, 50]
    found = thresholds(for_gpu, values, sparsity, weights)
    cut = [v <= t for v, t in zip(values, found, strict=True)]
    assert all(c.sum() <= len(c) - np.ceil(0.1 * len(c)) for c in cut)
    share = sum(c.sum() * w for c, w in zip(cut, weights, strict=True))
    share /= first * weights[0] + second * weights[1]
    full = all(c.sum() == len(c) - np.ceil(0.1 * len(c)) for c in cut)
    assert full or share >= sparsity - 1e-6
