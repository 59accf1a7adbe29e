"""What the tables of sparse training share: networks, staged rates, error and sparsity."""

import keras

import keras_sparse
from apps.tables import training
from apps.tables.table import Column
from keras_sparse import models
from keras_sparse.masks.schedules import CosineSchedule

_DENSITY = Column("weights left, %")
COLUMNS = {"error": Column("test error, %"), "density": _DENSITY}
ACCURACY_COLUMNS = {"accuracy": Column("test accuracy, %"), "density": _DENSITY}
# The networks for MNIST, by the papers' names: what `network` takes.
LENETS = {"LeNet-300-100": "lenet_300_100", "LeNet-5": "lenet_5"}
BATCH_SIZE = 100
EPOCHS = 100
# The start of PyTorch's layers, in which the papers' networks were written: uniform in ±1/√fan_in.
PYTORCH_START = keras_sparse.ScaledUniform(1.0)
# The papers' weight decay of 5e-4 is in the gradient; that of Keras' L2(c) is 2cw.
L2 = 2.5e-4


def staged(rate, run, every=25_000, of=54_000):
    """`rate`, times 0.1 `every` so many steps `of` a whole run; a shorter run keeps the shares.

    The defaults are MNIST's: 100 epochs of batch 100 with a tenth held out.
    """
    boundaries = range(every, of, every)
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(run.steps * step / of) for step in boundaries],
        [rate * 0.1**stage for stage in range(len(boundaries) + 1)],
    )


def cosine_prune_rate(run, initial=0.5):
    """The prune rate of sparse momentum, to 0 at the end of the run."""
    return CosineSchedule(initial, 0.0, end=run.steps)


def every_epoch(run):
    """Arguments of an optimizer that updates its masks once an epoch."""
    return {"update_every": "epoch", "steps_per_epoch": run.steps_per_epoch}


def sparse_momentum(density, stages=None, **arguments):
    """What makes the optimizer of sparse momentum's recipe.

    Args:
        density: float, the share of the weights; 1 for dense SGD with the same settings.
        stages: dict, the `every` and `of` of `staged`; by default MNIST's.
        **arguments: of `keras_sparse.SparseMomentum`.

    Returns:
        A function of a `Run` that gives an optimizer.
    """

    def build(run):
        rate = staged(0.1, run, **(stages or {}))
        if density == 1.0:
            return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        return keras_sparse.SparseMomentum(
            rate,
            density=density,
            prune_rate=cosine_prune_rate(run),
            seed=run.seed,
            **every_epoch(run),
            **arguments,
        )

    return build


def network(name, l2=L2, **arguments):
    """What makes a network.

    Args:
        name: a name in `keras_sparse.models`.
        l2: c of the regularizer c·Σw² on all kernels; 0 for none.
        **arguments: of the function of that name.

    Returns:
        A function of a data set that gives a `keras.Model`.
    """
    regularizer = keras.regularizers.L2(l2) if l2 else None

    def build(dataset):
        return getattr(models, name)(
            input_shape=dataset.input_shape,
            classes=dataset.classes,
            kernel_regularizer=regularizer,
            **arguments,
        )

    return build


def measure(model, dataset):
    """Test error, accuracy, and share of the prunable weights that are not zero, in percent."""
    accuracy = training.accuracy(model, dataset)
    return {
        "error": 100 * (1 - accuracy),
        "accuracy": 100 * accuracy,
        "density": 100 * (1 - keras_sparse.sparsity(model)),
    }
