"""Checkpoints of the training of a compression."""

from keras_sparse.callbacks import EpochCheckpoint
from keras_sparse.compression.data import HASHES

COMPILE_SETTINGS = ("loss", "loss_weights", "optimizer")
# Checkpoints of earlier versions lack these settings.
ADDED_SETTINGS = (*COMPILE_SETTINGS, *HASHES)


class TrainingCheckpoint(EpochCheckpoint):
    """An `EpochCheckpoint` that also resumes the checkpoints of earlier versions."""

    def save_end(self, checkpoint):
        """Saves the state after `fit`, with the history of the checkpoint of its epochs."""
        super().set_model(checkpoint.model)
        self.epoch, self.history = checkpoint.epoch, checkpoint.history
        if self.epoch:
            self.save()

    def _check(self, found):
        super()._check(with_added(found, self._settings))


class StudentCheckpoint(TrainingCheckpoint):
    """Saves only the student, because the teacher does not change."""

    def set_model(self, model):
        """Takes the student of a `Distiller`."""
        super().set_model(model.student)


def with_added(found, wanted):
    """The settings that a file holds, with those that earlier versions did not write."""
    added = {name: wanted[name] for name in ADDED_SETTINGS if name in wanted}
    return {**added, **found}
