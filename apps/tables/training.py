"""One row, one seed: train, and after a kill go on from the last checkpoint to the same figures."""

import dataclasses
import statistics
import time

import keras
import numpy as np

from apps import program
from keras_sparse import data
from keras_sparse.callbacks import EpochCheckpoint

# Fewer calls from Python; small networks train almost twice as fast on TensorFlow.
_STEPS_PER_EXECUTION = 20
# Between two checkpoints, so that writing them costs little beside short epochs.
_CHECKPOINT_SECONDS = 20.0
_EVALUATION_BATCH = 1000


@dataclasses.dataclass(frozen=True)
class Run:
    """The size of a training, from which schedules are made.

    Attributes:
        seed: of the start, of the order of images and of what an optimizer draws.
        epochs: passes over the data.
        steps_per_epoch: batches in a pass.
    """

    seed: int
    epochs: int
    steps_per_epoch: int

    @property
    def steps(self):
        """Of the whole training."""
        return self.epochs * self.steps_per_epoch

    def part(self, numerator, denominator):
        """Steps in a part of the training, at least one: a schedule ends after it begins."""
        return max(self.steps * numerator // denominator, 1)


def train(table, row, seed, epochs, dataset, folder, on_epoch):
    """Train a row from a seed, or from its checkpoint in `folder`, and measure it.

    Args:
        table: the `Table`.
        row: the `Row`.
        seed: int.
        epochs: int, passes over the data in all.
        dataset: a `keras_sparse.data.Dataset`.
        folder: `pathlib.Path` of this row and seed, for checkpoints.
        on_epoch: function that is called once for each epoch, also those of the checkpoint.

    Returns:
        `(figures, seconds)`: what the table measures, and the median seconds of an epoch, None if
        none was left to be trained.
    """
    model, seconds = trained_model(table, row, seed, epochs, dataset, folder, on_epoch)
    return table.measure(model, dataset), seconds


def trained_model(table, row, seed, epochs, dataset, folder, on_epoch):
    """`(model, seconds)`: what `train` measures; the arguments are its own."""
    run = Run(seed, epochs, -(-len(dataset.x_train) // row.batch_size))
    model = _compiled(table, row, run, dataset)
    checkpoint = EpochCheckpoint(folder / "checkpoint")
    checkpoint.set_model(model)
    try:
        done = checkpoint.restore(model)
    except ValueError as error:
        raise program.UsageError(f"{error} Or delete {folder}, this run alone.") from error
    for _ in range(done):
        on_epoch()
    seconds, saved = [], time.monotonic()
    for epoch in range(done, epochs):
        start = time.monotonic()
        _train_epoch(model, table, row, run, dataset, epoch)
        seconds.append(time.monotonic() - start)
        # The last one always: what is measured then may take long, or need another backend.
        if epoch + 1 == epochs or time.monotonic() - saved >= _CHECKPOINT_SECONDS:
            checkpoint.on_epoch_end(epoch)
            saved = time.monotonic()
        on_epoch()
    return model, statistics.median(seconds) if seconds else None


def accuracy(model, dataset):
    """Share of the test images that are classified rightly."""
    logs = model.evaluate(
        dataset.x_test, dataset.y_test, _EVALUATION_BATCH, verbose=0, return_dict=True
    )
    return logs["accuracy"]


def _compiled(table, row, run, dataset):
    keras.utils.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = row.model(dataset)
    model.compile(
        row.optimizer(run),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        steps_per_execution=_steps_per_execution(table, row, run, dataset),
        jit_compile=table.jit_compile if keras.backend.backend() == "tensorflow" else "auto",
    )
    return model


def _steps_per_execution(table, row, run, dataset):
    if table.augment is None:
        return min(_STEPS_PER_EXECUTION, run.steps_per_epoch)
    return _batches(table, row, run, dataset, 0).steps_per_execution(_STEPS_PER_EXECUTION)


def _train_epoch(model, table, row, run, dataset, epoch):
    model.fit(
        **_epoch_data(table, row, run, dataset, epoch),
        initial_epoch=epoch,
        epochs=epoch + 1,
        shuffle=False,
        callbacks=row.callbacks(run),
        verbose=0,
    )


def _epoch_data(table, row, run, dataset, epoch):
    """What `fit` takes, in an order of its own for each epoch, which a resumed training has too."""
    if table.augment is not None:
        batches = _batches(table, row, run, dataset, epoch)
        return {"x": batches, "steps_per_epoch": len(batches)}
    # Arrays: a small network would wait for batches that Python makes.
    order = np.random.default_rng([run.seed, epoch]).permutation(len(dataset.x_train))
    return {
        "x": dataset.x_train[order],
        "y": dataset.y_train[order],
        "batch_size": row.batch_size,
    }


def _batches(table, row, run, dataset, epoch):
    return data.Batches(
        dataset.x_train,
        dataset.y_train,
        row.batch_size,
        seed=run.seed,
        augment=table.augment,
        first_epoch=epoch,
    )
