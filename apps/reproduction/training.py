"""Trains one row with one seed; a killed training continues from its checkpoint."""

import statistics

import keras

from apps import program
from apps.training import loop
from keras_sparse.callbacks import Throughput

# Minimum time between two checkpoints, so that writing them costs little with short epochs.
_CHECKPOINT_SECONDS = 20.0
_EVALUATION_BATCH = 1000


def train(table, row, config, task, folder, on_epoch):
    """Train a row from a seed, or from its checkpoint in `folder`, and measure it.

    Args:
        table: the `Table`.
        row: the `Row`.
        config: the `TrainConfig` of the row, with the seed and the epochs.
        task: the `apps.training.tasks.InMemory`.
        folder: `pathlib.Path` of this row and seed, for checkpoints.
        on_epoch: function that is called once for each epoch, including the epochs of the
            checkpoint.

    Returns:
        `(figures, seconds)`: the table's measurements, and the median seconds of an epoch.
    """
    model, seconds = trained_model(config, task, folder, on_epoch)
    return table.measure(model, task.judged), seconds


def trained_model(config, task, folder, on_epoch):
    """`(model, seconds)`: the trained model of a row, for the arguments of `train`."""
    keras.utils.clear_session()
    model = loop.compiled(task, config)
    images = task.images_per_epoch(config.training.batch_size)
    watching = [
        Throughput(images),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_epoch()),
    ]
    try:
        found = loop.Loop(
            model, task, config, watching, folder / "checkpoint", seconds=_CHECKPOINT_SECONDS
        )
    except ValueError as error:
        raise program.UsageError(f"{error} Or delete {folder}, this run alone.") from error
    for _ in range(found.first_epoch):
        on_epoch()
    history = found.fit(validates=False, verbose=0)
    return model, images / statistics.median(history["images_per_second"])


def accuracy(model, dataset):
    """Share of the test images that are classified correctly."""
    logs = model.evaluate(
        dataset.x_test, dataset.y_test, _EVALUATION_BATCH, verbose=0, return_dict=True
    )
    return logs["accuracy"]
