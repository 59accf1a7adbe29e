"""The papers' tables: one module each, with rows, data and figures in `TABLE`."""

import importlib
import pkgutil

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def load(name):
    """The `Table` of a name.

    Args:
        name: one of `NAMES`.
    """
    return importlib.import_module(f"apps.tables.{name}").TABLE


def row(text):
    """The `TrainConfig` of a row.

    Args:
        text: `"TABLE/ROW"`, with the key of the row.

    Raises:
        ValueError: an unknown table or row, or a row that is more than a training.
    """
    name, _, key = text.partition("/")
    if name not in NAMES:
        raise ValueError(
            f"--row must be TABLE/ROW, TABLE one of {', '.join(NAMES)}. Received: {text!r}"
        )
    table = load(name)
    rows = {found.key: found for found in table.rows if found.is_training}
    if key not in rows:
        known = ", ".join(rows) or "none: run the table by python -m apps.reproduce"
        raise ValueError(f"--row must be {name}/ROW, ROW one of {known}. Received: {text!r}")
    return table.config(rows[key])
