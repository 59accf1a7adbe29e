import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sparse import InverseSqrtDecay, ProxSGD
from tests.optimizers.test_rda import run, soft


@given(st.integers(0, 2**31), st.floats(0, 1), st.sampled_from([None, 0.3]))
def test_is_its_recurrence(seed, l1, learning_rate):
    rng = np.random.default_rng(seed)
    w, gradients = rng.normal(0, 1, (2, 3)), rng.normal(0, 1, (5, 2, 3))
    values = run(ProxSGD(learning_rate, l1=l1), w, gradients)
    for t, (gradient, value) in enumerate(zip(gradients, values, strict=True), 1):
        step = learning_rate or 1 / np.sqrt(t)
        w = soft(w - step * gradient, step * l1)
        np.testing.assert_allclose(value, w, atol=1e-5)


def test_inverse_sqrt_decay():
    assert [float(InverseSqrtDecay(2.0)(step)) for step in (0, 3, 15)] == [2.0, 1.0, 0.5]
    again = InverseSqrtDecay.from_config(InverseSqrtDecay(2.0).get_config())
    assert again.initial_learning_rate == 2.0


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="`l1` must be"):
        ProxSGD(l1=-1.0)
    with pytest.raises(ValueError, match="`initial_learning_rate` must be"):
        InverseSqrtDecay(0.0)
