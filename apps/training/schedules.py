"""From flags to a learning rate, constant or by a schedule."""

import keras

import keras_sparse
from apps.training.choices import check, refuse_unused

_TAKES = {
    "constant": ("learning_rate",),
    "step": ("learning_rate", "step_every", "step_factor"),
    "cosine": ("learning_rate",),
    "staged": ("stages", "stage_starts"),
    "inverse_sqrt": ("learning_rate",),
}


def learning_rate(values, default, schedule, run):
    """The rate, or its schedule.

    Args:
        values: the `FlagValues`.
        default: the rate where no flag gives one.
        schedule: name of the schedule where no flag gives one.
        run: the `Run`.

    Returns:
        A float or a `LearningRateSchedule` over steps.

    Raises:
        ValueError: a rate that is not positive, numbers that the schedule lacks or does not have.
    """
    name = values.schedule or schedule
    refuse_unused("schedule", {**_TAKES, None: _TAKES[schedule]}, values)
    if name == "staged":
        return _staged(values, run)
    rate = default if values.learning_rate is None else values.learning_rate
    check(0 < rate < float("inf"), "learning_rate", "above 0", values)
    schedules = keras.optimizers.schedules
    if name == "step":
        factor = 0.1 if values.step_factor is None else values.step_factor
        check(values.step_every is not None, "step_every", "given with --schedule=step", values)
        check(factor > 0, "step_factor", "above 0", values)
        return schedules.ExponentialDecay(rate, values.step_every, factor, staircase=True)
    if name == "cosine":
        return schedules.CosineDecay(rate, run.steps)
    return keras_sparse.InverseSqrtDecay(rate) if name == "inverse_sqrt" else rate


def _staged(values, run):
    rates, starts = _numbers("stages", values), _numbers("stage_starts", values)
    check(rates and min(rates) > 0, "stages", "learning rates above 0", values)
    ascending = all(a < b for a, b in zip([0, *starts], starts, strict=False))
    fit = len(starts) == len(rates) - 1 and ascending
    check(fit, "stage_starts", "an ascending epoch for each of --stages but the first", values)
    if not starts:
        return rates[0]
    # Keras changes to a value in the step after its boundary.
    last_steps = [round(start * run.steps_per_epoch) - 1 for start in starts]
    return keras.optimizers.schedules.PiecewiseConstantDecay(last_steps, rates)


def _numbers(name, values):
    try:
        return [float(value) for value in values[name].value]
    except ValueError:
        check(False, name, "numbers separated by commas", values)
