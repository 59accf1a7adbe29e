"""From flags to an optimizer."""

import keras

import keras_sparse
from apps.training.methods import METHODS, mask_steps, value
from apps.training.schedules import learning_rate
from keras_sparse.masks.schedules import (
    ConstantSchedule,
    CosineSchedule,
    CubicSchedule,
    LinearSchedule,
)
from keras_sparse.optimizers.inner import LEARNING_RATES


def optimizer(values, run):
    """The optimizer that the flags describe.

    Args:
        values: the `FlagValues`.
        run: the `Run`, from which schedules are made.

    Returns:
        A `keras.optimizers.Optimizer`.

    Raises:
        ValueError: a value that the optimizer refuses.
    """
    name, method = values.optimizer, METHODS[values.optimizer]
    default = 0.1 if name == "rda" and values.form == "accumulated" else method.rate
    if "inner" in method.takes and values.inner == "adam":
        default = LEARNING_RATES["adam"]
    schedule = "inverse_sqrt" if name == "prox_sgd" else "constant"
    rate = learning_rate(values, default, schedule, run)
    build = getattr(keras_sparse, method.name, None) or getattr(keras.optimizers, method.name)
    return build(rate, **_arguments(name, method, values, run))


def _arguments(name, method, values, run):
    """Of the optimizer's class, those that flags give or that differ from its own defaults."""
    given = {flag: value(flag, values) for flag in method.takes}
    found = {flag: found for flag, found in given.items() if found is not None}
    for flag in ("retrain_epochs", "update_masks"):
        found.pop(flag, None)
    if "groups" in found:
        found["exclude"] = "logits/" if values.exclude is None else values.exclude
    found["exclude"] = found.get("exclude") or None
    if "exclude" not in method.takes:
        del found["exclude"]
    if name == "rda":
        found |= _rda(values, run)
    if name == "sgd":
        found["nesterov"] = found["momentum"] > 0
    if "inner" in method.takes:
        found["seed"] = values.seed
    if "update_every" in method.takes:
        found |= _update_every(values, run)
    if "prune_rate" in method.takes:
        found |= _prune_rate(found, values, run)
    if name == "magnitude_pruning":
        found |= _sparsity(found, values, run)
    return found


def _rda(values, run):
    if values.target_sparsity is None:
        return {"l1": 8e-3} if values.l1 is None else {}
    if values.ramp_steps is None:
        return {"ramp_steps": max(min(1000, run.steps // 2), 1)}
    return {}


def _update_every(values, run):
    if values.update_masks == "callback":
        return {"update_every": None}
    every = mask_steps(values, run)
    if every == "epoch":
        return {"update_every": "epoch", "steps_per_epoch": run.steps_per_epoch}
    return {"update_every": every}


def _prune_rate(found, values, run):
    kind = found.pop("prune_schedule", "constant")
    until = found.pop("prune_until", 1.0)
    rate = found.get("prune_rate", 0.3)
    if kind == "constant":
        return {"prune_rate": ConstantSchedule(rate)}
    schedule = CosineSchedule if kind == "cosine" else LinearSchedule
    return {"prune_rate": schedule(rate, 0.0, end=max(1, round(until * run.steps)))}


def _sparsity(found, values, run):
    target = found.pop("target_sparsity", 0.9)
    begin = found.pop("prune_from", 0.1)
    until = found.pop("prune_until", max(begin, 0.5))
    begin = round(begin * run.steps)
    end = max(begin + 1, round(until * run.steps))
    return {"sparsity": CubicSchedule(0.0, target, begin=begin, end=end)}
