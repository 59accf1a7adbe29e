"""From flags to an optimizer."""

import dataclasses
from collections.abc import Callable

import keras

import keras_sparse
from apps.training.choices import check, refuse_unused
from apps.training.schedules import learning_rate
from keras_sparse.masks.schedules import (
    ConstantSchedule,
    CosineSchedule,
    CubicSchedule,
    LinearSchedule,
)

_PROXIMAL = ("groups", "exclude", "retrain_epochs")
_INNER = ("momentum", "inner", "weight_decay", "exclude")
_MASKED = (*_INNER, "density", "distribution")
_MOVING = (*_MASKED, "update_every", "update_masks")
_GRADUAL = ("target_sparsity", "prune_from", "prune_until", "scope")
_PRUNING = (*_MOVING, "prune_rate", "prune_schedule", "prune_until")


@dataclasses.dataclass(frozen=True)
class Method:
    """An optimizer that `--optimizer` names.

    Attributes:
        build: the class.
        takes: names of its flags, besides the learning rate's.
        rate: the learning rate where no flag gives one.
        defaults: what these flags are where they are not given and the class has another default.
    """

    build: Callable
    takes: tuple
    rate: float
    defaults: dict = dataclasses.field(default_factory=dict)


METHODS = {
    "rda": Method(
        keras_sparse.RDA,
        (*_PROXIMAL, "form", "center", "l1", "target_sparsity", "ramp_steps", "rho"),
        1.0,
    ),
    "grda": Method(keras_sparse.GRDA, (*_PROXIMAL, "c", "mu"), 0.1),
    "prox_sgd": Method(keras_sparse.ProxSGD, (*_PROXIMAL, "l1"), 1.0),
    "sparse_momentum": Method(
        keras_sparse.SparseMomentum,
        (*_PRUNING, "redistribution", "growth", "prune"),
        0.1,
        {"update_every": "epoch", "prune_rate": 0.5, "prune_schedule": "cosine"},
    ),
    "rigl": Method(
        keras_sparse.RigL, _PRUNING, 0.1, {"prune_schedule": "cosine", "prune_until": 0.75}
    ),
    "set": Method(keras_sparse.SET, _PRUNING, 0.1, {"update_every": "epoch"}),
    "snip": Method(keras_sparse.SNIP, (*_INNER, "density"), 0.1),
    "dsr": Method(
        keras_sparse.DSR, (*_PRUNING, "threshold", "tolerance"), 0.1, {"prune_rate": 0.1}
    ),
    "deep_r": Method(
        keras_sparse.DeepR, (*_MOVING, "l1", "temperature"), 0.05, {"update_every": "1"}
    ),
    "static": Method(keras_sparse.StaticSparse, _MASKED, 0.1),
    "magnitude_pruning": Method(
        keras_sparse.MagnitudePruning,
        (*_INNER, *_GRADUAL, "update_every", "update_masks"),
        0.01,
    ),
    "sgd": Method(keras.optimizers.SGD, ("momentum", "weight_decay"), 0.1, {"momentum": 0.9}),
    "adam": Method(keras.optimizers.Adam, ("weight_decay",), 1e-3),
    "adamw": Method(keras.optimizers.AdamW, ("weight_decay",), 1e-3),
    "rmsprop": Method(keras.optimizers.RMSprop, ("weight_decay",), 1e-3),
    "adagrad": Method(keras.optimizers.Adagrad, ("weight_decay",), 1e-3),
}


def optimizer(values, run):
    """The optimizer that the flags describe.

    Args:
        values: the `FlagValues`.
        run: the `Run`, from which schedules are made.

    Returns:
        A `keras.optimizers.Optimizer`.

    Raises:
        ValueError: a flag that the optimizer does not have, or a value that it refuses.
    """
    name, method = values.optimizer, METHODS[values.optimizer]
    refuse_unused("optimizer", {key: found.takes for key, found in METHODS.items()}, values)
    default = 0.1 if name == "rda" and values.form == "accumulated" else method.rate
    schedule = "inverse_sqrt" if name == "prox_sgd" else "constant"
    rate = learning_rate(values, default, schedule, run)
    return method.build(rate, **_arguments(name, method, values, run))


def _arguments(name, method, values, run):
    """Of the optimizer's class, those that flags give or that differ from its own defaults."""
    given = {
        flag: method.defaults.get(flag) if values[flag].value is None else values[flag].value
        for flag in method.takes
    }
    found = {flag: value for flag, value in given.items() if value is not None}
    for flag in ("retrain_epochs", "update_masks"):
        found.pop(flag, None)
    if "groups" in found:
        found["exclude"] = "logits/" if values.exclude is None else values.exclude
    found["exclude"] = found.get("exclude") or None
    if "exclude" not in method.takes:
        del found["exclude"]
    if name == "rda" and values.l1 is None and values.target_sparsity is None:
        found["l1"] = 8e-3
    if name == "sgd":
        found["nesterov"] = found["momentum"] > 0
    if "inner" in method.takes:
        found["seed"] = values.seed
    if "update_every" in method.takes:
        found |= _update_every(found.get("update_every", "100"), values, run)
    if "prune_rate" in method.takes:
        found |= _prune_rate(found, values, run)
    if name == "magnitude_pruning":
        found |= _sparsity(found, values, run)
    return found


def _update_every(every, values, run):
    if values.update_masks == "callback":
        check(values.optimizer != "rigl", "update_masks", "in_step or apart for rigl", values)
        return {"update_every": None}
    if every == "epoch":
        return {"update_every": "epoch", "steps_per_epoch": run.steps_per_epoch}
    return {"update_every": mask_steps(values, every)}


def mask_steps(values, every=None):
    """Steps between two changes of the masks, or `"epoch"`."""
    every = every or values.update_every or METHODS[values.optimizer].defaults.get("update_every")
    every = every or "100"
    if every == "epoch":
        return every
    check(every.isdecimal() and int(every) >= 1, "update_every", "a number or epoch", values)
    return int(every)


def _prune_rate(found, values, run):
    kind = found.pop("prune_schedule", "constant")
    until = found.pop("prune_until", 1.0)
    rate = found.get("prune_rate", 0.3)
    if kind == "constant":
        if values["prune_until"].present:
            raise ValueError("--prune_until needs --prune_schedule=linear or cosine.")
        return {"prune_rate": ConstantSchedule(rate)}
    schedule = CosineSchedule if kind == "cosine" else LinearSchedule
    return {"prune_rate": schedule(rate, 0.0, end=max(1, round(until * run.steps)))}


def _sparsity(found, values, run):
    target = found.pop("target_sparsity", 0.9)
    begin = found.pop("prune_from", 0.1)
    until = found.pop("prune_until", max(begin, 0.5))
    check(begin <= until, "prune_until", "at least --prune_from", values)
    begin = round(begin * run.steps)
    end = max(begin + 1, round(until * run.steps))
    return {"sparsity": CubicSchedule(0.0, target, begin=begin, end=end)}
