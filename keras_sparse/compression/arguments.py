"""Checks the arguments of `compress`, except the data."""

import keras

from keras_sparse.compression.descriptions import check_config
from keras_sparse.compression.planning import Plan
from keras_sparse.compression.probe import compile_arguments
from keras_sparse.loss_scaling import bare_optimizer


def check_meter(name, meter, needed, costs, target):
    """Raises a `ValueError` for an object that cannot measure, or that measures no limited cost.

    Args:
        name: str, the name of the argument.
        meter: the object, or None.
        needed: str, what makes such an object, for the message.
        costs: the names of the costs that it measures.
        target: see `compress`.
    """
    if meter is None:
        return
    if not callable(getattr(meter, "costs", None)):
        raise ValueError(f"`{name}` must be an `{needed}`. Received: {meter!r}")
    if isinstance(target, dict) and not set(costs) & set(target):
        raise ValueError(
            f"`{name}` measures {' and '.join(map(repr, costs))}, and `target` limits neither. "
            f"Received: target={target!r}"
        )


def check_plan(target, plan, schedule, given):
    """Raises a `ValueError` unless there is either a target or a plan that fits the rest.

    Args:
        target, plan: see `compress`.
        schedule: a schedule of `keras_sparse.compression.schedules`.
        given: `{argument: whether it was given}`, of those that belong to `plan`.
    """
    if (target is None) == (plan is None):
        raise ValueError(
            "`compress` takes either `target`, a dict such as {'macs': 0.5}, or `plan`, what "
            f"`keras_sparse.plan` returns. Received: target={target!r}, plan of type {type(plan)}"
        )
    if plan is None:
        return
    if not isinstance(plan, Plan):
        raise ValueError(f"`plan` must be a `Plan`, from `keras_sparse.plan`. Received: {plan!r}")
    names = [name for name, value in given.items() if value]
    if names:
        raise ValueError(f"`plan` was made already: give {names} to `keras_sparse.plan`.")
    if not schedule.takes_plan:
        raise ValueError(f"`plan` is for one cut, {schedule} makes several: give `target`.")


def check_compiled(model):
    """Raises a `ValueError` for a model without an optimizer."""
    if getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"The model {model.name!r} has no optimizer: call `model.compile` with the optimizer, "
            "the loss and the metrics of its training."
        )


def check_configs(model, folder):
    """Raises a `ValueError` for parts of the training that cannot be made again, or told apart.

    Args:
        model: a compiled `keras.Model`.
        folder: see `compress`; with one, losses are told apart by their configs.
    """
    compile_arguments(model)  # raises for a metric that cannot be made again
    check_config(bare_optimizer(model.optimizer), f"The optimizer of the model {model.name!r}")
    if folder is not None:
        for loss in keras.tree.flatten(model.loss):
            if isinstance(loss, keras.losses.Loss):
                check_config(loss, f"The loss of the model {model.name!r}")


def checked_callbacks(callbacks):
    """The callbacks as a tuple; a `ValueError` for those that set the learning rate."""
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    own = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    for callback in callbacks or ():
        if isinstance(callback, own):
            raise ValueError(
                f"`callbacks` must not set the learning rate, as {type(callback).__name__} does: "
                "it follows a schedule of its own. Give its peak as `learning_rate`, or train with "
                "a loop of your own after `keras_sparse.plan`."
            )
    return tuple(callbacks or ())
