"""The papers' tables: one declarative module each, whose `TABLE` names rows, data and figures."""

import importlib

# Each with its data set, which is known before the module, and with it Keras, is imported.
DATASETS = {
    "edge_frontier": "cifar10",
    "compression": "cifar10",
    "implicit_causes": "mnist",
    "implicit_cifar10": "cifar10",
    "implicit_mnist": "mnist",
    "implicit_mnist_cnn": "mnist",
    "implicit_sweep": "mnist",
    "inactive_unit": None,
    "pruning_baselines": "mnist",
    "rda_cifar10": "cifar10",
    "rda_init_scale": "mnist",
    "rda_vs_prox_sgd": "mnist",
    "sparse_momentum_ablation": "mnist",
    "sparse_momentum_cifar10": "cifar10",
    "sparse_momentum_cifar10_wide": "cifar10",
    "sparse_momentum_mnist": "mnist",
    "sparse_momentum_start": "mnist",
}
NAMES = tuple(DATASETS)


def load(name):
    """The `Table` of a name.

    Args:
        name: one of `NAMES`.
    """
    return importlib.import_module(f"apps.tables.{name}").TABLE
