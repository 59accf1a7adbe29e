"""From flags to a learning rate, constant or by a schedule."""

import keras

import keras_sparse
from apps.training.flags import STAGES


def learning_rate(values, default, schedule, run):
    """The rate, or its schedule.

    Args:
        values: the `FlagValues`.
        default: the rate where no flag gives one.
        schedule: name of the schedule where no flag gives one.
        run: the `Run`.

    Returns:
        A float or a `LearningRateSchedule` over steps.
    """
    name = values.schedule or schedule
    if name == "staged":
        return _staged(values, run)
    rate = default if values.learning_rate is None else values.learning_rate
    schedules = keras.optimizers.schedules
    if name == "step":
        factor = 0.1 if values.step_factor is None else values.step_factor
        return schedules.ExponentialDecay(rate, values.step_every, factor, staircase=True)
    if name == "cosine":
        return schedules.CosineDecay(rate, run.steps)
    return keras_sparse.InverseSqrtDecay(rate) if name == "inverse_sqrt" else rate


def _staged(values, run):
    rates, starts = ([float(number) for number in values[name].value] for name in STAGES)
    if not starts:
        return rates[0]
    # Keras changes to a value in the step after its boundary.
    last_steps = [round(start * run.steps_per_epoch) - 1 for start in starts]
    return keras.optimizers.schedules.PiecewiseConstantDecay(last_steps, rates)
