"""What `--optimizer` names: which flags belong to it, and what they are by default."""

import dataclasses

# At least, of the masks, however short the training is.
_UPDATES = 20
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
        name: of the class, in `keras_sparse` or `keras.optimizers`.
        takes: names of its flags, besides the learning rate's.
        rate: the learning rate where no flag gives one.
        defaults: what these flags are where they are not given and the class has another default.
    """

    name: str
    takes: tuple
    rate: float
    defaults: dict = dataclasses.field(default_factory=dict)


METHODS = {
    "rda": Method(
        "RDA",
        (*_PROXIMAL, "form", "center", "l1", "target_sparsity", "ramp_steps", "rho"),
        1.0,
    ),
    "grda": Method("GRDA", (*_PROXIMAL, "c", "mu"), 0.1, {"c": 5e-3}),
    "prox_sgd": Method("ProxSGD", (*_PROXIMAL, "l1"), 1.0, {"l1": 1e-4}),
    "sparse_momentum": Method(
        "SparseMomentum",
        (*_PRUNING, "redistribution", "growth", "prune"),
        0.1,
        {"update_every": "epoch", "prune_rate": 0.5, "prune_schedule": "cosine"},
    ),
    "rigl": Method("RigL", _PRUNING, 0.1, {"prune_schedule": "cosine", "prune_until": 0.75}),
    "set": Method("SET", _PRUNING, 0.1, {"update_every": "epoch"}),
    "snip": Method("SNIP", (*_INNER, "density"), 0.1),
    "dsr": Method("DSR", (*_PRUNING, "threshold", "tolerance"), 0.1, {"prune_rate": 0.1}),
    "deep_r": Method("DeepR", (*_MOVING, "l1", "temperature"), 0.3, {"update_every": "1"}),
    "static": Method("StaticSparse", _MASKED, 0.1),
    "magnitude_pruning": Method(
        "MagnitudePruning",
        (*_INNER, *_GRADUAL, "update_every", "update_masks"),
        0.01,
    ),
    "sgd": Method("SGD", ("momentum", "weight_decay"), 0.1, {"momentum": 0.9}),
    "adam": Method("Adam", ("weight_decay",), 1e-3),
    "adamw": Method("AdamW", ("weight_decay",), 1e-3),
    "rmsprop": Method("RMSprop", ("weight_decay",), 1e-3),
    "adagrad": Method("Adagrad", ("weight_decay",), 1e-3),
}


def takes():
    """Dict from the value of `--optimizer` to the names of its flags."""
    return {name: method.takes for name, method in METHODS.items()}


def value(flag, values):
    """Of a flag that belongs to the optimizer: what was given, else its default, else None."""
    given = values[flag].value
    return METHODS[values.optimizer].defaults.get(flag) if given is None else given


def mask_steps(values, run):
    """Steps between two changes of the masks, or `"epoch"`.

    Args:
        values: the `FlagValues`.
        run: the `Run`; of a short one the default is a part.
    """
    every = value("update_every", values)
    if every is None:
        whole = steps_per_execution(values, run.steps_per_epoch)
        return max(min(100, run.steps // _UPDATES) // whole, 1) * whole
    return every if every == "epoch" else int(every)


def steps_per_execution(values, steps):
    """Steps at a time: a number that does not divide an epoch's would move the epochs apart."""
    return max(n for n in range(1, min(values.steps_per_execution, steps) + 1) if steps % n == 0)


def retrain_epochs(values):
    """How many of the last epochs are adaptive sparse retraining."""
    if values.retrain_epochs is not None:
        return values.retrain_epochs
    return values.epochs * 2 // 5 if values.optimizer == "rda" else 0
