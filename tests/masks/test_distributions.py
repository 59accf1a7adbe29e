import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_sparse.masks.distributions import layer_budgets

shapes = st.lists(
    st.lists(st.integers(1, 40), min_size=2, max_size=4).map(tuple), min_size=1, max_size=6
)


def names(shapes):
    return [f"layer_{i}/kernel" for i in range(len(shapes))]


@given(shapes, st.floats(0.001, 1), st.sampled_from(["uniform", "erk"]))
def test_budgets_add_up_exactly(shapes, density, distribution):
    sizes = [math.prod(shape) for shape in shapes]
    assume(density * min(sizes) >= 1)  # below, a layer may be emptied, which is refused
    budgets = layer_budgets(shapes, names(shapes), density, distribution)
    assert sum(budgets) == round(density * sum(sizes))
    assert all(0 < budget <= size for budget, size in zip(budgets, sizes, strict=True))


def test_uniform_is_the_same_density_everywhere():
    assert layer_budgets([(784, 300), (300, 100), (100, 10)], names("abc"), 0.05, "uniform") == [
        11760,
        1500,
        50,
    ]


def test_erk_makes_small_layers_dense_and_large_ones_sparse():
    shapes = [(3, 3, 3, 16), (3, 3, 64, 64), (64, 10)]
    budgets = layer_budgets(shapes, names(shapes), 0.1, "erk")
    densities = [budget / math.prod(shape) for budget, shape in zip(budgets, shapes, strict=True)]
    assert densities[0] == densities[2] == 1.0
    assert sum(budgets) == round(0.1 * (432 + 36864 + 640))


def test_erk_densities_are_in_proportion_to_sum_over_product():
    shapes = [(100, 100), (200, 50), (400, 200)]
    budgets = layer_budgets(shapes, names(shapes), 0.05, "erk")
    raw = [sum(shape) / math.prod(shape) for shape in shapes]
    ratios = [
        budget / math.prod(shape) / r for budget, shape, r in zip(budgets, shapes, raw, strict=True)
    ]
    np.testing.assert_allclose(ratios, ratios[0], rtol=2e-3)


def test_a_users_own_distribution_goes_by_pattern():
    budgets = layer_budgets(
        [(10, 10), (20, 10), (10, 5)],
        ["stem/kernel", "body/kernel", "head/kernel"],
        0.1,
        {"^stem": 0.5, "head": 1.0},
    )
    assert budgets == [50, 20, 50]


@pytest.mark.parametrize(
    ("density", "distribution", "message"),
    [
        (0.0, "uniform", r"`density` must be in \(0, 1\].*Received: density=0.0"),
        (1.5, "uniform", "Received: density=1.5"),
        (0.1, "normal", "Received: distribution='normal'"),
        (0.1, {"stem": 2.0}, r"distribution\['stem'\]=2.0"),
        (0.1, {"stem": 0.5}, "No sparse weight matches the pattern 'stem'"),
        (0.001, "uniform", "'layer_1/kernel' would keep none of its 4 weights"),
    ],
)
def test_what_cannot_be_is_refused(density, distribution, message):
    with pytest.raises(ValueError, match=message):
        layer_budgets(
            [(100, 100), (2, 2)], ["layer_0/kernel", "layer_1/kernel"], density, distribution
        )
