"""The papers' tables: one declarative module each, whose `TABLE` names rows, data and figures."""

import importlib

NAMES = (
    "edge_frontier",
    "implicit_causes",
    "implicit_cifar10",
    "implicit_mnist",
    "implicit_mnist_cnn",
    "implicit_sweep",
    "inactive_unit",
    "pruning_baselines",
    "rda_cifar10",
    "rda_init_scale",
    "rda_vs_prox_sgd",
    "sparse_momentum_ablation",
    "sparse_momentum_cifar10",
    "sparse_momentum_cifar10_wide",
    "sparse_momentum_mnist",
    "sparse_momentum_start",
)


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
