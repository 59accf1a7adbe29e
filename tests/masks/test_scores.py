import numpy as np
from keras import ops

from keras_sparse.masks.scores import random_keys, random_normal


def keys(size, seed=0, step=0):
    index = ops.arange(size, dtype="int32")
    return ops.convert_to_numpy(
        random_keys(index, ops.convert_to_tensor(seed), ops.convert_to_tensor(step))
    )


def test_the_numbers_are_known():
    # The same on every backend and after every release: a resumed run must draw what it would have.
    def mix(h):
        h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        return h ^ (h >> 16)

    stream = mix((mix((5 + 0x9E3779B9) & 0xFFFFFFFF) + 11) & 0xFFFFFFFF)
    expected = [
        mix((mix((i + 0x9E3779B9) & 0xFFFFFFFF) + stream) & 0xFFFFFFFF) & 0x7FFFFFFF
        for i in range(50)
    ]
    np.testing.assert_array_equal(keys(50, seed=5, step=11), expected)


def test_the_numbers_are_uniform_and_independent_of_neighbours():
    draws = keys(100_000) / 2**31
    counts = np.histogram(draws, bins=20, range=(0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 50  # chi square of 19, beyond 0.9999
    for other in (keys(100_000, seed=1), keys(100_000, step=1), np.roll(keys(100_000), 1)):
        assert abs(np.corrcoef(draws, other)[0, 1]) < 0.02


def test_normal_numbers_have_mean_zero_and_variance_one():
    index = ops.arange(100_000, dtype="int32")
    x = ops.convert_to_numpy(
        random_normal(index, ops.convert_to_tensor(3), ops.convert_to_tensor(0))
    )
    assert np.isfinite(x).all()
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert abs((x**3).mean()) < 0.05
    assert abs((x**4).mean() - 3) < 0.15
