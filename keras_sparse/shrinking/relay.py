"""Callbacks for several calls of `fit` that look like one call to the user's callbacks."""

import math
import time

import keras

_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)


class Relay(keras.callbacks.Callback):
    """Passes events on to callbacks, but the begin and the end of training only once.

    Args:
        callbacks: the user's callbacks, in a (nested) list, or None.

    Attributes:
        goes_on: whether another call of `fit` will follow.
    """

    def __init__(self, callbacks):
        super().__init__()
        self.goes_on = False
        self._began = False
        self._callbacks = keras.tree.flatten(callbacks or [])
        self._added = [set() for _ in self._callbacks]
        self._gone = [set() for _ in self._callbacks]
        # Otherwise the progress bar would make the host wait for the device at every batch.
        self.async_safe = all(map(_is_async_safe, self._callbacks))

    def _pass_on(self, hook, *arguments):
        for callback in self._callbacks:
            getattr(callback, hook)(*arguments)

    def set_params(self, params):
        super().set_params(params)
        self._pass_on("set_params", params)

    def set_model(self, model):
        """Pass on the current model to the callbacks."""
        if self.model not in (None, model):
            self._gone = [set(added) for added in self._added]
        super().set_model(model)
        self._pass_on("set_model", model)

    def on_train_begin(self, logs=None):
        """Pass on the first time."""
        self.goes_on = False
        if not self._began:
            self._began = True
            self._pass_on("on_train_begin", logs)

    def on_train_end(self, logs=None):
        """Pass on the last time."""
        if not self.goes_on:
            self._pass_on("on_train_end", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._pass_on("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        """Pass on; later callbacks see what earlier ones add to `logs`.

        What a callback added before, of a layer that is removed or renamed now, is NaN: tables such
        as `CSVLogger`'s need all of their columns.
        """
        for callback, added, gone in zip(self._callbacks, self._added, self._gone, strict=True):
            before = set(logs)
            callback.on_epoch_end(epoch, logs)
            gone.difference_update(logs)
            added.update(set(logs) - before)
            logs.update(dict.fromkeys(gone, math.nan))

    def on_train_batch_begin(self, batch, logs=None):
        self._pass_on("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._pass_on("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs=None):
        self._pass_on("on_test_begin", logs)

    def on_test_end(self, logs=None):
        self._pass_on("on_test_end", logs)

    def on_test_batch_begin(self, batch, logs=None):
        self._pass_on("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self._pass_on("on_test_batch_end", batch, logs)


def _is_async_safe(callback):
    """Keras' rule: safe if the callback declares it, or if it does nothing at a batch."""
    base = keras.callbacks.Callback
    return getattr(callback, "async_safe", False) or all(
        getattr(type(callback), hook) is getattr(base, hook) for hook in _BATCH_HOOKS
    )


class JoinedHistory(keras.callbacks.History):
    """One history over several calls of `fit`."""

    def __init__(self):
        super().__init__()
        self.epoch = []

    def on_train_begin(self, logs=None):
        """Keep what earlier calls have written."""

    def restore(self, epochs, logs):
        """Continue after other epochs.

        Args:
            epochs: list of their numbers.
            logs: dict from a log's name to the list of its values.

        Raises:
            ValueError: not a history of this form.
        """
        numbers = isinstance(epochs, list) and all(type(n) is int and n >= 0 for n in epochs)
        lists = isinstance(logs, dict) and all(isinstance(v, list) for v in logs.values())
        if not (epochs and numbers and lists):
            raise ValueError("the history is no list of epochs and dict of lists")
        self.epoch, self.history = epochs, logs


class AfterEpoch(keras.callbacks.Callback):
    """Calls a function after all other callbacks have seen an epoch; it may end `fit`.

    Args:
        function: takes the epoch's number and its time in seconds; returns whether to end `fit`.
    """

    def __init__(self, function):
        super().__init__()
        self._function = function

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Stop the clock, and perhaps `fit`."""
        if self._function(epoch, time.perf_counter() - self._start):
            self.model.stop_training = True
