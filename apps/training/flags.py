"""The flags of `apps.train`: one for each setting, in groups."""

from apps.training.config import OLD_NAMES, PARTS, SHOWN, owners, warn_of_old_name
from apps.training.methods import METHODS
from apps.training.settings import names

_GROUPS = {
    "data": "data",
    "network": "network",
    "learning rate": "rate",
    "training": "training",
    "callbacks": "watching",
    "output": "output",
}
_SHOWN = " ".join(f"--{name}={value}" for name, value in SHOWN.items())
GROUPS = (
    *("data", "network", "optimizer", "proximal optimizers", "masked optimizers"),
    *list(_GROUPS)[2:],
)


def define(flags, values):
    """Define all flags of `apps.train`.

    A flag that was not given is None; `TrainConfig` has the defaults.

    Args:
        flags: the module `absl.flags`.
        values: the `FlagValues` to define them in.
    """
    flags.DEFINE_string(
        "row",
        None,
        "TABLE/ROW: the settings of a row of a table that apps.reproduce runs; other flags change "
        "them.",
        flag_values=values,
        module_name="data",
    )
    flags.DEFINE_enum(
        "optimizer",
        None,
        list(METHODS),
        "Those of keras_sparse, and of Keras: sgd, adam, adamw, rmsprop, adagrad. adam and rmsprop "
        "kill channels with --l2. A flag that the optimizer does not have is refused. Without this "
        f"flag: {_SHOWN}",
        flag_values=values,
        module_name="optimizer",
    )
    for group, part in _GROUPS.items():
        for field in _fields(PARTS[part]):
            _define(field, _help(field), group, values)
    for method in METHODS.values():
        for field in _fields(method):
            if field.name not in values:
                _define(field, _help_of_methods(field), method.group, values)
    for old, new in OLD_NAMES.items():
        flags.DEFINE_alias(old, new, flag_values=values, module_name="old names")


def given(values):
    """`{name: value}` of the settings that were given, of the `FlagValues`.

    Raises:
        ValueError: a flag was given by its old name and by its new one.
    """
    for old, new in OLD_NAMES.items():
        if values[old].present:
            both = values[new].present > values[old].present  # the old name increases both counts
            warn_of_old_name(f"--{old}", f"--{new}", both)
    groups = values.flags_by_module_dict()
    found = {flag.name: flag.value for group in GROUPS for flag in groups[group]}
    row = found.pop("row")
    found = {name: value for name, value in found.items() if value is not None}
    return row, found


def _fields(kind):
    return [kind.__dataclass_fields__[name] for name in names(kind)]


def _define(field, help, group, values):
    field.metadata["define"](
        field.name, default=None, help=help, flag_values=values, module_name=group
    )


def _help(field):
    return f"{field.metadata['help']}{_default(field.default)}"


def _help_of_methods(field):
    """Help text with the methods that have the setting, and their defaults."""
    methods = owners(field.name)
    defaults = {m: METHODS[m].__dataclass_fields__[field.name].default for m in methods}
    usual = max(defaults.values(), key=list(defaults.values()).count)
    others = [f"{value} for {name}" for name, value in defaults.items() if value != usual]
    prefix = f"{', '.join(methods)}: " if len(methods) < 6 else ""
    if not others:
        return f"{prefix}{field.metadata['help']}{_default(usual)}"
    others += [] if usual is None else [f"else {usual}"]
    return f"{prefix}{field.metadata['help']} Default: {', '.join(others)}."


def _default(value):
    if value is None or value is False or value == ():
        return ""
    return f" Default: {str(value).lower() if value is True else value}."
