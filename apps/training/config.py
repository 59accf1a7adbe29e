"""The complete configuration of a training, made from settings by name and checked once."""

import dataclasses
import functools
import warnings
from collections.abc import Mapping

from apps.training import parts
from apps.training.methods import METHODS
from apps.training.methods.method import Method
from apps.training.settings import Settings, names, require

PARTS = {
    "data": parts.Data,
    "network": parts.Network,
    "rate": parts.Rate,
    "training": parts.Training,
    "watching": parts.Watching,
    "output": parts.Output,
}
# Defaults without an optimizer: whole channels die, so that surgery finds channels to remove.
SHOWN = {
    "optimizer": "rda",
    "groups": "channel",
    "target_sparsity": 0.6,
    "exclude": "logits/",
    "learning_rate": 1.0,
    "schedule": "cosine",
}
# Settings that replace some of these defaults. The published variant multiplies the weights by its
# learning rate, so a rate that falls to 0 would make them 0.
_REPLACES = {"staged": "learning_rate", "l1": "target_sparsity", "variant": "schedule"}
# Old names of settings, which are in old checkpoints.
OLD_NAMES = {"form": "variant", "retrain_epochs": "fine_tuning_epochs"}
# Settings that may differ between a training and its continuation.
_FREE = ("baseline", "data_dir", "export", "out", "quantize", "resume", "tensorboard")
# Increased when defaults or the meaning of settings change.
_VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training, grouped in parts.

    Attributes:
        data, network, rate, training, watching, output: the parts, see `apps.training.parts`.
        optimizer: the `Method`, with the settings of the optimizer.
        given: `{name: value}` of the explicitly given settings.

    Example:

    >>> config = TrainConfig.of({"dataset": "mnist", "optimizer": "rigl", "density": 0.05})
    >>> config.optimizer.density, config.training.epochs
    (0.05, 60)
    """

    data: parts.Data
    network: parts.Network
    optimizer: Method
    rate: parts.Rate
    training: parts.Training
    watching: parts.Watching
    output: parts.Output
    given: Mapping

    @classmethod
    def of(cls, settings):
        """The configuration with these settings, and defaults for the others.

        Args:
            settings: `{name: value}`, with the names of the flags; None means not given.

        Raises:
            ValueError: a setting that is unknown, does not fit, or belongs to another optimizer,
                network or schedule.
        """
        given = _by_present_names({n: v for n, v in settings.items() if v is not None})
        if "optimizer" not in given:
            replaced = {_REPLACES.get(name) for name in (*given, given.get("schedule"))}
            given = {n: value for n, value in SHOWN.items() if n not in replaced} | given
        values = dict(given)
        optimizer = values.pop("optimizer")
        if optimizer not in METHODS:
            known = ", ".join(METHODS)
            raise ValueError(f"--optimizer must be one of {known}. Received: {optimizer!r}")
        _refuse_unknown(values)
        takes = choices()["optimizer"]
        _refuse_unused("optimizer", optimizer, takes, values)
        _refuse_unused("schedule", values.get("schedule", "constant"), parts.OF_SCHEDULES, values)
        if isinstance(values.get("model", ""), str):
            model = values.get("model", "small_cnn")
            _refuse_unused("model", model, parts.OF_MODELS, values)
        if "stages" in values and "inner" in takes[optimizer]:
            values.setdefault("inner", "sgd")  # as with a given learning rate
        method = METHODS[optimizer](**_of(METHODS[optimizer], values))
        made = {part: kind(**_of(kind, values)) for part, kind in PARTS.items()}
        made["network"] = _with_start(made["network"], method)
        # With several workers, metrics have one more axis (see `strategies`), which TensorBoard
        # refuses.
        scalars = not made["watching"].tensorboard or made["training"].strategy != "multi_worker"
        wanted = "omitted with --strategy=multi_worker"
        require(scalars, "tensorboard", wanted, made["watching"])
        return cls(optimizer=method, given=given, **made)

    def replace(self, **changes):
        """The configuration with some settings changed; None leaves one unchanged.

        Settings of an optimizer, a network or a schedule are dropped when another is chosen.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        kept = dict(self.given)
        for choice, takes in choices().items():
            if choice in changes:
                taken = takes.get(changes[choice], ())
                for name in set().union(*takes.values()).difference(taken):
                    kept.pop(name, None)
        return type(self).of({**kept, **changes})

    @functools.cached_property
    def settings(self):
        """`{name: value}` of all settings that affect the result, JSON-serializable."""
        found = {"version": _VERSION, "optimizer": self.optimizer.flag}
        for part in (*PARTS, "optimizer"):
            settings = getattr(self, part)
            found |= {name: getattr(settings, name) for name in names(settings)}
        return {name: _plain(v) for name, v in found.items() if name not in _FREE}


def choices():
    """`{choice: {value: names of the settings that belong to it}}`."""
    return {
        "optimizer": {name: names(method) for name, method in METHODS.items()},
        "model": parts.OF_MODELS,
        "schedule": parts.OF_SCHEDULES,
    }


def owners(name):
    """The methods that have a setting."""
    return [method for method, cls in METHODS.items() if name in names(cls)]


def warn_of_old_name(old, new, both):
    """Warns of a setting that was given by its old name; raises ValueError if `both` were given."""
    if both:
        raise ValueError(f"{old} is the old name of {new}: give {new} only.")
    text = f"{old} is renamed to {new}. The next release removes the old name."
    warnings.warn(text, FutureWarning, stacklevel=4)


def _by_present_names(settings):
    for old in OLD_NAMES.keys() & settings.keys():
        new = OLD_NAMES[old]
        warn_of_old_name(f"`{old}`", f"`{new}`", both=new in settings)
    return {OLD_NAMES.get(name, name): value for name, value in settings.items()}


def _plain(value):
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else value


def _of(kind: type[Settings], values):
    return {name: values[name] for name in names(kind) if name in values}


def _with_start(network, method):
    if network.init_scale is None:
        published = getattr(method, "variant", None) == "published"
        return dataclasses.replace(network, init_scale=3.0 if published else 0.0)
    return network


def _refuse_unknown(values):
    known = {name for kind in (*PARTS.values(), *METHODS.values()) for name in names(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"There is no setting {unknown[0]!r}. There are {', '.join(sorted(known))}"
        )
    if "init_bound" in values and "init_scale" not in values:
        raise ValueError(
            f"--init_bound must be given with --init_scale only. Received: {values['init_bound']}"
        )


def _refuse_unused(choice, chosen, takes, values):
    """Raise a ValueError for a setting that the choice would not use.

    Args:
        choice: name of the choice, such as the optimizer.
        chosen: its value.
        takes: `{value: names of the settings that belong to it}`.
        values: the given settings.
    """
    for name in sorted(set().union(*takes.values())):
        if name in values and name not in takes.get(chosen, ()):
            fitting = " or ".join(key for key, owned in takes.items() if name in owned)
            raise ValueError(
                f"--{name} is for --{choice}={fitting}: omit it, or choose that. Received: "
                f"--{choice}={chosen}"
            )
