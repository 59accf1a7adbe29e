"""Making a learning rate, constant or a schedule, from the part `Rate`."""

import keras

import keras_sparse
from apps.training.settings import span


def learning_rate(rate, constant, run):
    """The rate, or its schedule.

    Args:
        rate: the `Rate`.
        constant: the learning rate of the optimizer.
        run: the `Run`.

    Returns:
        A float or a `LearningRateSchedule` over steps.
    """
    schedules = keras.optimizers.schedules
    if rate.schedule == "staged":
        return _staged(rate, run)
    if rate.schedule == "step":
        return schedules.ExponentialDecay(
            constant, rate.step_every, rate.step_factor, staircase=True
        )
    if rate.schedule == "cosine":
        return schedules.CosineDecay(constant, run.steps)
    return keras_sparse.InverseSqrtDecay(constant) if rate.schedule == "inverse_sqrt" else constant


def _staged(rate, run):
    if not rate.stage_starts:
        return rate.stages[0]
    starts = [
        span(start, run.steps) if start < 1 else round(start * run.steps_per_epoch)
        for start in rate.stage_starts
    ]
    # Keras changes the value in the step after the boundary.
    boundaries = [start - 1 for start in starts]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rate.stages)
