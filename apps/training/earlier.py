"""Settings of unfinished runs of an earlier version, whose checkpoints have no `version`.

They hold the given flags only; the others had the defaults below.
"""

from apps.training.config import OLD_NAMES, TrainConfig, choices

_PROXIMAL = {"groups": "channel", "exclude": "logits/"}
_MASKED = {"learning_rate": 0.1}
_DEFAULTS = {
    "rda": {**_PROXIMAL, "variant": "published"},
    "grda": {**_PROXIMAL, "learning_rate": 0.1, "c": 5e-3},
    "prox_sgd": {**_PROXIMAL, "learning_rate": 1.0, "l1": 1e-4, "schedule": "inverse_sqrt"},
    "sparse_momentum": {
        **_MASKED,
        **{"update_every": "epoch", "prune_rate": 0.5, "prune_schedule": "cosine"},
    },
    "rigl": {**_MASKED, "prune_rate": 0.3, "prune_schedule": "cosine", "prune_until": 0.75},
    "set": {**_MASKED, "update_every": "epoch", "prune_rate": 0.3},
    "snip": _MASKED,
    "dsr": {**_MASKED, "prune_rate": 0.1},
    "deep_r": {**_MASKED, "learning_rate": 0.3, "update_every": 1},
    "static": _MASKED,
    "magnitude_pruning": {
        **_MASKED,
        **{"learning_rate": 0.01, "target_sparsity": 0.9, "prune_from": 0.1, "scope": "layer"},
    },
    "sgd": {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
}
_RATE_OF_INNER_ADAM = 0.003


def settings(found, steps):
    """The settings that a run of today needs to continue such a run.

    Args:
        found: `{name: value}` of the checkpoint.
        steps: int, steps of the whole training.

    Returns:
        A dict like `TrainConfig.settings`.

    Raises:
        ValueError: a checkpoint without settings, or a setting that no longer exists.
    """
    if "optimizer" not in found:
        raise ValueError("an earlier version started it and did not store its settings")
    given = {OLD_NAMES.get(n, n): _value(n, v) for n, v in found.items() if v not in (None, [])}
    values = {**_defaults(given, steps), **given}
    if values.get("prune_schedule") == "constant":
        del values["prune_schedule"]
    if "init_scale" not in values:
        values.pop("init_bound", None)
    return TrainConfig.of({n: v for n, v in values.items() if _belongs(n, values)}).settings


def _value(name, value):
    """A value of today's type."""
    if name in ("stages", "stage_starts"):
        return tuple(float(number) for number in value)
    if name == "update_every" and value != "epoch":
        return int(value)
    if name == "mixed_precision":
        return "float16" if value else None
    return float(value) if name in ("ramp_steps", "retrain_epochs") else value


def _defaults(given, steps):
    """The defaults of that version for the chosen optimizer."""
    optimizer = given["optimizer"]
    found = dict(_DEFAULTS.get(optimizer, {}))
    if optimizer == "rda":
        published = given.get("variant") == "published"
        found |= {
            "learning_rate": 1.0 if published else 0.1,
            "fine_tuning_epochs": float(given["epochs"] * 2 // 5),
        }
        if "target_sparsity" not in given:
            found["l1"] = 8e-3
    if given.get("inner") == "adam":
        found["learning_rate"] = _RATE_OF_INNER_ADAM
    if optimizer == "magnitude_pruning":
        found["prune_until"] = max(given.get("prune_from", found["prune_from"]), 0.5)
        found["update_every"] = max(min(100, steps // 20), 1)
    return found


def _belongs(name, values):
    """Whether the chosen optimizer, network and schedule have a setting."""
    chosen = {"schedule": "constant", **values}
    return all(
        name in takes[chosen[choice]] or not any(name in owned for owned in takes.values())
        for choice, takes in choices().items()
    )
