import numpy as np
from keras import ops

from keras_sparse.optimizers.deep_r import DeepR

from .reference import network, state

SHAPE = (12, 10)


def make(**kwargs):
    options = {"density": 0.3, "temperature": 0.0, "l1": 0.0, "momentum": 0.5, "seed": 0, **kwargs}
    optimizer = DeepR(0.1, **options)
    variables = network(optimizer, [SHAPE])
    optimizer._inner.slots[0][0].assign(np.zeros(SHAPE))
    return optimizer, variables


def test_a_weight_that_would_cross_zero_goes_dormant_and_another_wakes_up():
    optimizer, variables = make()
    (mask,), (weight,), _ = state(optimizer, variables)
    # One step far enough to carry every small weight over zero.
    optimizer.apply([ops.convert_to_tensor(np.sign(weight) * 2)])
    (same,), (stepped,), _ = state(optimizer, variables)
    crossed = mask & (stepped == 0)
    assert crossed.any()
    assert (np.sign(stepped) == np.sign(weight))[mask & ~crossed].all()
    np.testing.assert_array_equal(same, mask)
    optimizer.apply([ops.zeros(SHAPE)])
    (new,), _, _ = state(optimizer, variables)
    assert new.sum() == mask.sum()
    assert (new & ~mask).any()
    assert optimizer.mask_changes["kernel_0"] == {"pruned": crossed.sum(), "grown": crossed.sum()}


def test_the_pull_is_learning_rate_times_l1():
    optimizer, variables = make(l1=0.5)
    (mask,), (weight,), _ = state(optimizer, variables)
    optimizer.apply([ops.zeros(SHAPE)])
    expected = np.sign(weight) * np.maximum(np.abs(weight) - 0.05, 0)
    np.testing.assert_allclose(variables[0].numpy(), np.where(mask, expected, 0), atol=1e-7)


def test_the_noise_has_the_temperature():
    optimizer, variables = make(temperature=0.01, density=1.0)
    variables[0].assign(np.where(variables[0].numpy() > 0, 10.0, -10.0))
    before = variables[0].numpy().copy()
    optimizer.apply([ops.zeros(SHAPE)])
    noise = variables[0].numpy() - before
    assert abs(noise.std() / np.sqrt(2 * 0.1 * 0.01) - 1) < 0.2
    assert abs(noise.mean()) < 0.015


def test_what_is_not_a_number_is_not_dead():
    optimizer, variables = make()
    (mask,), (weight,), _ = state(optimizer, variables)
    broken = np.unravel_index(np.flatnonzero(mask)[:3], SHAPE)
    values = np.array(weight)
    values[broken] = np.nan
    variables[0].assign(values)
    optimizer.apply([ops.zeros(SHAPE)])
    assert np.isnan(variables[0].numpy()[broken]).all()
    assert np.isnan(variables[0].numpy()).sum() == 3
