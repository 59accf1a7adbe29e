import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_sparse.optimizers.proximal import soft_threshold

arrays = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=4),
    # TensorFlow takes subnormal numbers for zero.
    elements=st.floats(-4, 4, width=32, allow_subnormal=False),
)
thresholds = st.floats(0, 3, width=32, allow_subnormal=False)


@given(arrays, thresholds)
def test_per_weight_is_its_definition_and_leaves_no_negative_zero(x, threshold):
    result = ops.convert_to_numpy(soft_threshold(ops.array(x), threshold))
    expected = np.sign(x) * np.maximum(np.abs(x) - threshold, 0)
    np.testing.assert_allclose(result, expected, atol=1e-6)
    assert ((result == 0) == (np.abs(x) <= threshold)).all()
    if threshold > 0:
        assert not np.signbit(result[result == 0]).any()


@given(arrays, thresholds)
def test_group_minimises_its_objective(x, threshold):
    """The prox of k·√n·‖·‖ at x minimises k·√n·‖w‖ + ½‖w − x‖² in each group."""
    axes = tuple(range(x.ndim - 1))
    result = ops.convert_to_numpy(soft_threshold(ops.array(x), threshold, axes))
    size = np.prod(x.shape[:-1])

    def objective(w):
        norms = np.sqrt(np.sum(np.square(w, dtype="float64"), axis=axes))
        distance = np.sum(np.square(w - x, dtype="float64"), axis=axes)
        return threshold * np.sqrt(size) * norms + 0.5 * distance

    # Convex, and the minimum is on the ray through x.
    for scale in np.linspace(0, 1, 21):
        assert (objective(result) <= objective(np.float32(scale) * x) + 1e-4).all()
    for nudge in np.random.default_rng(0).normal(0, 0.05, (10, *x.shape)):
        assert (objective(result) <= objective(result + nudge) + 1e-4).all()


def test_group_by_hand():
    x = ops.array([[3.0, 0.1], [4.0, 0.1]])
    # ‖(3, 4)‖ = 5 and √n·k = √2: the factor is 1 − √2/5; ‖(0.1, 0.1)‖ is below √2.
    factor = 1 - np.sqrt(2) / 5
    expected = [[3 * factor, 0], [4 * factor, 0]]
    np.testing.assert_allclose(soft_threshold(x, 1.0, (0,)), expected, rtol=1e-6)


@pytest.mark.parametrize("axes", [None, (0,)])
def test_nan_stays_nan(axes):
    result = ops.convert_to_numpy(soft_threshold(ops.array([[np.nan], [np.nan]]), 1.0, axes))
    assert np.isnan(result).all()


@pytest.mark.parametrize("axes", [None, (0,)])
def test_zero_group_without_a_threshold_is_zero(axes):
    np.testing.assert_array_equal(soft_threshold(ops.zeros((2, 1)), 0.0, axes), 0.0)
