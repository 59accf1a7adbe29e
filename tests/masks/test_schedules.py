import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sparse.masks.schedules import (
    ConstantSchedule,
    CosineSchedule,
    CubicSchedule,
    LinearSchedule,
    OneShotSchedule,
    as_schedule,
)

ramps = st.sampled_from([CosineSchedule, CubicSchedule, LinearSchedule])
share = st.floats(0, 1)


@given(ramps, share, share, st.integers(0, 100), st.integers(1, 100), st.integers(0, 300))
def test_a_ramp_stays_between_its_ends_and_moves_one_way(ramp, initial, final, begin, length, step):
    schedule = ramp(initial, final, end=begin + length, begin=begin)
    low, high = min(initial, final), max(initial, final)
    assert low - 1e-12 <= schedule(step) <= high + 1e-12
    assert schedule(begin) == pytest.approx(initial)
    assert schedule(begin + length) == schedule(begin + length + 1) == final
    assert (schedule(step + 1) - schedule(step)) * (final - initial) >= -1e-12


@pytest.mark.parametrize(
    ("schedule", "step", "value"),
    [
        (ConstantSchedule(0.3), 7, 0.3),
        (LinearSchedule(0.5, 0.1, end=100), 25, 0.4),
        (CosineSchedule(0.5, 0.0, end=300), 100, 0.375),
        (CubicSchedule(0.0, 0.8, end=110, begin=10), 60, 0.7),
    ],
)
def test_values(schedule, step, value):
    assert schedule(step) == pytest.approx(value)


@pytest.mark.parametrize(
    "schedule",
    [ConstantSchedule(0.3), LinearSchedule(0.5, 0.1, 9), CosineSchedule(0.5, 0.0, 9, begin=2)],
)
def test_a_schedule_survives_saving(schedule):
    config = keras.saving.serialize_keras_object(schedule)
    assert keras.saving.deserialize_keras_object(config) == schedule
    assert as_schedule("prune_rate", config) == schedule


@pytest.mark.parametrize(
    "make",
    [
        lambda: ConstantSchedule(1.5),
        lambda: CosineSchedule(-0.1, 0.0, end=10),
        lambda: CosineSchedule(0.5, 0.0, end=0),
        lambda: LinearSchedule(0.5, 0.0, end=10, begin=10),
        lambda: as_schedule("prune_rate", 1.5),
        lambda: as_schedule("prune_rate", "cosine"),
    ],
)
def test_what_is_no_schedule_is_refused(make):
    with pytest.raises(ValueError, match="Received"):
        make()


def test_one_shot():
    schedule = OneShotSchedule(0.9, end=10)
    assert [schedule(step) for step in (0, 9, 10, 99)] == [0, 0, 0.9, 0.9]
    assert schedule.ending_at(5)(5) == 0.9
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again == schedule
