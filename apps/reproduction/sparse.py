"""Common parts of the tables of sparse training: settings, columns, error and sparsity."""

import keras_sparse
from apps.reproduction import training
from apps.reproduction.table import Column

_DENSITY = Column("weights left, %")
COLUMNS = {"error": Column("test error, %"), "density": _DENSITY}
ACCURACY_COLUMNS = {"accuracy": Column("test accuracy, %"), "density": _DENSITY}
# The networks for MNIST, by their names in the papers.
LENETS = {"LeNet-300-100": "lenet_300_100", "LeNet-5": "lenet_5"}
# The papers add a weight decay of 5e-4 to the gradient; Keras' L2(c) adds 2cw.
L2 = 2.5e-4


def staged(rate, every=25_000, of=54_000):
    """Settings: a rate that is multiplied by 0.1 `every` so many steps of a run of `of` steps.

    The steps become shares of the run. The defaults are for MNIST: 100 epochs of batch 100 with a
    tenth held out.
    """
    boundaries = range(every, of, every)
    return {
        "schedule": "staged",
        "stages": tuple(rate * 0.1**stage for stage in range(len(boundaries) + 1)),
        "stage_starts": tuple(step / of for step in boundaries),
    }


# The recipe on MNIST: 100 epochs, the initialization of PyTorch's layers, which the papers use
# (uniform in ±1/√fan_in), a tenth of the images held out.
MNIST = {
    "dataset": "mnist",
    "held_out": 0.1,
    "batch_size": 100,
    "epochs": 100,
    "init_scale": 1.0,
    "l2": L2,
    **staged(0.1),
}
CIFAR10 = {"dataset": "cifar10", "augment": True, "batch_size": 128}


def sparse_momentum(density, **settings):
    """Settings of the optimizer of sparse momentum's recipe.

    Args:
        density: float, the share of the weights; 1 for dense SGD with the same settings.
        **settings: other settings of the method.
    """
    if density == 1.0:
        return {"optimizer": "sgd", "momentum": 0.9, "nesterov": True}
    return {
        "optimizer": "sparse_momentum",
        "density": density,
        "prune_rate": 0.5,
        "prune_schedule": "cosine",
        "update_every": "epoch",
        **settings,
    }


def measure(model, dataset):
    """Test error, accuracy, and share of the prunable weights that are not zero, in percent."""
    accuracy = training.accuracy(model, dataset)
    return {
        "error": 100 * (1 - accuracy),
        "accuracy": 100 * accuracy,
        "density": 100 * (1 - keras_sparse.sparsity(model)),
    }
