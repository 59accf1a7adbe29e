"""Trains and evaluates the models of a compression."""

import dataclasses
import os
import warnings

import keras
import numpy as np

from keras_sparse.compression import data as datasets
from keras_sparse.compression.checkpoint import StudentCheckpoint, TrainingCheckpoint
from keras_sparse.compression.distilling import (
    as_list,
    check_distillation,
    described,
    distiller,
)
from keras_sparse.random_state import SeededEpochs

# Keras' own default.
STUDENT_LOSS_WEIGHT = 0.5


@dataclasses.dataclass(frozen=True)
class Training:
    """Trains models on the same data in the same way.

    Args:
        given: the model to compress, which is the teacher of a distillation.
        data, validation_data, batch_size, callbacks, verbose, distillation, student_loss_weight:
            see `compress`.

    Raises:
        ValueError: Keras does not support `distillation` for the model.
    """

    given: keras.Model
    data: object
    validation_data: object
    batch_size: int
    callbacks: tuple
    verbose: object
    distillation: object
    student_loss_weight: float

    def __post_init__(self):
        if self.distillation is not None:
            check_distillation(
                self.given,
                self.distillation,
                self.student_loss_weight,
                [self.data, self.validation_data],
            )
        elif self.student_loss_weight != STUDENT_LOSS_WEIGHT:
            warnings.warn(
                "`student_loss_weight` is for `distillation`, which is None: it does nothing. "
                f"Received: student_loss_weight={self.student_loss_weight!r}",
                stacklevel=4,
            )

    def say(self, sentence):
        """Prints a sentence on the stage that begins, unless `verbose` is 0."""
        if self.verbose != 0:
            print(sentence, flush=True)

    def run(self, model, epochs, folder=None, settings=None):
        """Trains a model to the end of its epochs.

        Args:
            model: a compiled `keras.Model`; its weights and its optimizer change.
            epochs: int, total number of epochs.
            folder: folder of checkpoints, from which the training is resumed; None for none.
            settings: JSON-serializable dict; a training with other settings is not resumed.

        Returns:
            `{name: values by epoch}`.
        """
        if not epochs:
            # A saved model without the optimizer's variables warns when it is loaded.
            model.optimizer.build(model.trainable_variables)
            return {}
        trained, checkpoint_type = model, TrainingCheckpoint
        if self.distillation is not None:
            trained = distiller(self.given, model, self.distillation, self.student_loss_weight)
            checkpoint_type = StudentCheckpoint
        callbacks, first = list(self.callbacks), 0
        if folder is None:
            callbacks.append(SeededEpochs(model))
        else:
            end = checkpoint_type(os.path.join(folder, "end"), callbacks, settings)
            if end.restore(model):
                return _numbers(end.history)
            checkpoint = checkpoint_type(folder, callbacks, settings)
            first = checkpoint.restore(model)
            callbacks.append(checkpoint)
        self.say(f"Epochs of training: {epochs - first}")
        history = trained.fit(
            **datasets.training_arguments(self.data, self.batch_size, first),
            **self._validation(),
            epochs=epochs,
            initial_epoch=first,
            callbacks=callbacks,
            verbose=self.verbose,
        )
        if folder is not None and self.callbacks:
            # Callbacks may end the training early, and change the weights at its end.
            end.save_end(checkpoint)
        return _numbers(history.history)

    def settings(self):
        """The JSON-serializable settings that must not change when a training is resumed."""
        if self.distillation is None:
            return {"batch_size": self.batch_size}
        return {
            "batch_size": self.batch_size,
            "distillation": [described(loss) for loss in as_list(self.distillation)],
            "student_loss_weight": self.student_loss_weight,
        }

    def evaluate(self, model):
        """Loss and metrics on the validation data, `{name: float}`; empty without such data.

        Of a metric with several values, such as one for each class, it is the mean.
        """
        if self.validation_data is None:
            return {}
        given = datasets.arguments(self.validation_data, self.batch_size)
        found = model.evaluate(**given, verbose=0, return_dict=True)
        return {name: float(np.mean(value)) for name, value in found.items()}

    def _validation(self):
        if self.validation_data is None:
            return {}
        if datasets.is_arrays(self.validation_data):
            size = {"validation_batch_size": self.batch_size}
            return {"validation_data": tuple(self.validation_data), **size}
        batches = datasets.arguments(self.validation_data, self.batch_size)
        return {"validation_data": batches["x"]}


def _numbers(history):
    """A history with one number for each epoch; see `Training.evaluate`."""
    return {name: [float(np.mean(value)) for value in found] for name, found in history.items()}
