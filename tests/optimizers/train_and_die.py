"""A training run that is killed in the middle of an epoch. Run by test_resume.py."""

import os
import sys

import keras
import numpy as np

from tests.killing import AfterSteps, kill
from tests.optimizers.matrix import (
    OPTIMIZERS,
    STEPS_PER_EPOCH,
    compile_model,
    make_data,
    make_model,
)

EPOCHS = 4
STEPS = 2 * STEPS_PER_EPOCH + STEPS_PER_EPOCH // 2  # until the end


def train_epoch(model, epoch, callbacks=()):
    """One epoch, in an order that depends on nothing but its number."""
    x, y = make_data()
    order = np.random.default_rng(epoch).permutation(len(x))
    model.fit(
        x[order],
        y[order],
        batch_size=8,
        shuffle=False,
        verbose=0,
        initial_epoch=epoch,
        epochs=epoch + 1,
        callbacks=list(callbacks),
    )


def train(name, folder=None, way=None, callbacks=()):
    """Trains, or trains on from what `folder` holds: `way` is "keras" or "backup"."""
    model = compile_model(make_model(), OPTIMIZERS[name]())
    path = os.path.join(folder or "", "model.keras")
    start = 0
    if way == "keras" and os.path.exists(path):
        model = keras.saving.load_model(path)
        start = int(model.optimizer.iterations) // STEPS_PER_EPOCH
    if way == "backup":
        backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
        callbacks = [*callbacks, backup]
    for epoch in range(start, EPOCHS):
        train_epoch(model, epoch, callbacks)
        if way == "keras":
            model.save(path + ".part.keras")
            os.replace(path + ".part.keras", path)
    return model


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        # As in the process of the tests, which continues with this one's files.
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    name, folder, way = sys.argv[1:]
    train(name, folder, way, [AfterSteps(STEPS, kill)])
