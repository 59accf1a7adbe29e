"""Several calls of `fit` as one for the user's callbacks."""

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
    """Passes events on to callbacks; the begin and the end of training only once.

    Args:
        callbacks: the user's callbacks, in a (nested) list, or None.

    Attributes:
        goes_on: whether another call of `fit` is going to follow.
    """

    def __init__(self, callbacks):
        super().__init__()
        self.goes_on = False
        self._began = False
        self._callbacks = keras.tree.flatten(callbacks or [])
        # Otherwise the progress bar would make the host wait for the device at every batch.
        self.async_safe = all(map(_is_async_safe, self._callbacks))

    def _pass_on(self, hook, *arguments):
        for callback in self._callbacks:
            getattr(callback, hook)(*arguments)

    def set_params(self, params):
        super().set_params(params)
        self._pass_on("set_params", params)

    def set_model(self, model):
        """Pass on: the callbacks see the model that is trained now."""
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
        """Pass on; what the callbacks add to `logs` is seen by those that follow."""
        self._pass_on("on_epoch_end", epoch, logs)

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
    """As Keras judges it: safe by its own word, or without anything to do at a batch."""
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
        """Keep what the calls before have written."""

    def restore(self, epochs, logs):
        """Continue after other epochs.

        Args:
            epochs: list of their numbers.
            logs: dict from a log's name to the list of its values.

        Raises:
            ValueError: something else.
        """
        numbers = isinstance(epochs, list) and all(type(n) is int and n >= 0 for n in epochs)
        lists = isinstance(logs, dict) and all(isinstance(v, list) for v in logs.values())
        if not (epochs and numbers and lists):
            raise ValueError("the history is no list of epochs and dict of lists")
        self.epoch, self.history = epochs, logs


class AfterEpoch(keras.callbacks.Callback):
    """Calls a function when all other callbacks have seen an epoch, and may end `fit` there.

    Args:
        function: takes the epoch's number and its seconds; returns whether to end `fit`.
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
