"""What the tables of sparse training on MNIST share: LeNets, staged rates, error and sparsity."""

import keras

import keras_sparse
from apps.tables import training
from apps.tables.table import Column
from keras_sparse import models
from keras_sparse.masks.schedules import CosineSchedule

COLUMNS = {
    "error": Column("test error, %"),
    "density": Column("weights left, %"),
}
BATCH_SIZE = 100
EPOCHS = 100
# Of the 54,000 steps of 100 epochs, batch 100 and a tenth held out; a shorter run keeps the shares.
_STAGES = (25_000 / 54_000, 50_000 / 54_000)
# The papers' weight decay of 5e-4 is in the gradient; that of Keras' L2(c) is 2cw.
L2 = 2.5e-4


def staged(rate, run):
    """`rate`, times 0.1 after 25,000 and 50,000 of 54,000 steps, or that share of a shorter run."""
    return keras.optimizers.schedules.PiecewiseConstantDecay(
        [round(share * run.steps) for share in _STAGES], [rate, 0.1 * rate, 0.01 * rate]
    )


def cosine_prune_rate(run, initial=0.5):
    """The prune rate of sparse momentum, to 0 at the end of the run."""
    return CosineSchedule(initial, 0.0, end=run.steps)


def every_epoch(run):
    """Arguments of an optimizer that updates its masks once an epoch."""
    return {"update_every": "epoch", "steps_per_epoch": run.steps_per_epoch}


def lenet(name, l2=L2, **arguments):
    """What makes a LeNet.

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
            dataset.input_shape, dataset.classes, kernel_regularizer=regularizer, **arguments
        )

    return build


def measure(model, dataset):
    """Test error and share of the prunable weights that are not zero, in percent."""
    return {
        "error": 100 * (1 - training.accuracy(model, dataset)),
        "density": 100 * (1 - keras_sparse.sparsity(model)),
    }
