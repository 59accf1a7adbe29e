"""An end in the midst of training."""

import os
import signal

import keras


class AfterSteps(keras.callbacks.Callback):
    """Calls `end()` after a number of steps."""

    def __init__(self, steps, end):
        super().__init__()
        self.left = steps
        self.end = end

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            self.end()


def kill():
    """Ends the process, with no chance to clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


class KilledError(Exception):
    """Stands for a kill, in the process of the test."""


class AfterEpochs(keras.callbacks.Callback):
    """Raises a `KilledError` when that many epochs are over and another begins."""

    def __init__(self, epochs):
        super().__init__()
        self.left = epochs

    def on_epoch_begin(self, epoch, logs=None):
        self.left -= 1
        if self.left < 0:
            raise KilledError
