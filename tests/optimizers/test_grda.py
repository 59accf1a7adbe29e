import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sparse import GRDA
from tests.optimizers.test_rda import run, soft


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0.51, 1))
def test_is_its_recurrence(seed, c, mu):
    rng = np.random.default_rng(seed)
    start, gradients = rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (6, 2, 3))
    values = run(GRDA(0.1, c=c, mu=mu), start, gradients)
    threshold = 0.0
    for t, value in enumerate(values, 1):
        threshold += c * 0.1 ** (mu + 0.5) * (t**mu - (t - 1) ** mu)
        moved = start - 0.1 * gradients[:t].sum(0)
        np.testing.assert_allclose(value, soft(moved, threshold), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"c": -1.0}, "`c` must be"), ({"mu": 0.5}, "`mu` must be"), ({"mu": 1.1}, "`mu` must be")],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        GRDA(**arguments)
