import keras
import numpy as np
import pytest

from keras_sparse import GRDA, RDA, ProxSGD
from keras_sparse.callbacks import AdaptiveSparseRetraining, ScheduleOverTraining
from keras_sparse.optimizers import InverseSqrtDecay
from keras_sparse.validation import (
    check_finite_samples,
    check_integer,
    check_learning_rate,
    check_number,
)

BAD = [float("nan"), float("inf"), -float("inf"), True, "x", None, [1.0], 1j]


@pytest.mark.parametrize("value", [*BAD, -1, 1, 1.5], ids=str)
def test_numbers_outside_an_interval(value):
    with pytest.raises(ValueError, match=r"`x` must be in \[0, 1\).*finite number.*Received: x="):
        check_number("x", value, "[0, 1)")


@pytest.mark.parametrize("value", [0, 0.5, np.float32(0.5), np.int64(0), np.float64(0.25)])
def test_numbers_become_pythons_own(value):
    assert check_number("x", value, "[0, 1)") == value
    assert type(check_number("x", value, "[0, 1)")) in (int, float)


@pytest.mark.parametrize("value", [*BAD, 1.0, 0, np.float32(2)], ids=str)
def test_integers(value):
    with pytest.raises(ValueError, match="`x` must be 1 or more, and an integer"):
        check_integer("x", value, "[1, inf)")
    assert check_integer("x", np.int64(3), "[1, inf)") == 3


@pytest.mark.parametrize("value", [*BAD, -0.1], ids=str)
def test_learning_rates(value):
    with pytest.raises(ValueError, match="`learning_rate` must be 0 or more"):
        check_learning_rate(value)


def test_learning_rates_that_keras_takes():
    assert type(check_learning_rate(1)) is float
    assert check_learning_rate(0) == 0.0
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    assert check_learning_rate(schedule) is schedule
    assert keras.ops.convert_to_numpy(RDA(np.float32(0.5)).learning_rate) == 0.5


@pytest.mark.parametrize("value", [value for value in BAD if value is not None], ids=str)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (RDA, "learning_rate"),
        (RDA, "l1"),
        (RDA, "target_sparsity"),
        (RDA, "ramp_steps"),
        (RDA, "rho"),
        (GRDA, "c"),
        (GRDA, "mu"),
        (ProxSGD, "l1"),
        (InverseSqrtDecay, "initial_learning_rate"),
        (AdaptiveSparseRetraining, "start_epoch"),
        (ScheduleOverTraining, "share"),
    ],
)
def test_arguments_are_named(make, name, value):
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}="):
        make(**{name: value})


def test_samples_that_are_not_finite_are_counted():
    samples = np.zeros((5, 2, 2))
    check_finite_samples("`x`", samples)
    samples[3, 1, 0], samples[4] = np.nan, np.inf
    with pytest.raises(
        ValueError, match=r"`x` must be finite.* in 2 of 5 samples, first in sample 3"
    ):
        check_finite_samples("`x`", samples)
