"""The papers' tables: one declarative module each, whose `TABLE` names rows, data and figures."""

import importlib

NAMES = ("implicit_mnist",)


def load(name):
    """The `Table` of a name.

    Args:
        name: one of `NAMES`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in NAMES:
        raise ValueError(f"--table must be one of {', '.join(NAMES)}. Received: {name!r}")
    return importlib.import_module(f"apps.tables.{name}").TABLE
