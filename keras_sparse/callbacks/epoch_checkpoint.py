"""A checkpoint after each epoch, from which a killed training continues."""

import io
import json
import warnings

import keras

from keras_sparse import checkpoint_files
from keras_sparse.files import check_folder
from keras_sparse.loss_scaling import optimizer_name
from keras_sparse.random_state import (
    SeededEpochs,
    check_random_state,
    random_state,
    set_random_state,
)

_FIELDS = {
    "settings": dict,
    "random_state": list,
    "callbacks": list,
    "epochs": list,
    "history": dict,
}


class EpochCheckpoint(SeededEpochs, keras.callbacks.History):
    """Saves a run after each epoch, and resumes it with the same results, bit for bit.

    Like `keras.callbacks.BackupAndRestore`, it saves the weights and the optimizer's variables. It
    also saves the history and the states of random layers and of other callbacks. A checkpoint is
    replaced as a whole, so the process can be killed at any time. The order of the data must depend
    on the epoch only, as in `data.Batches`; the shuffling of `fit` does not work.

    The callback is also the history that `fit` returns. It must be the last callback.

    Args:
        folder: folder of the checkpoint, for one run.
        callbacks: the callbacks of the run. If a callback has `get_state()`, which must return
            something JSON-serializable, and `set_state(state)`, as `DeadChannelCounter` does, its
            state is saved and restored.
        settings: JSON-serializable dict. A run with other settings is not resumed.
        writes: bool; False for a worker that only reads, if several workers train one network.

    Attributes:
        history: dict from a log's name to its values by epoch, from the first epoch of the run.

    Raises:
        ValueError: an argument of a wrong type; a folder that cannot be written; see also
            `restore`.

    Example:

    >>> counter = DeadChannelCounter(epochs=3)
    >>> checkpoint = EpochCheckpoint("run/checkpoint", [counter])
    >>> first = checkpoint.restore(model)
    >>> batches = Batches(x, y, batch_size=128, first_epoch=first)
    >>> model.fit(batches, steps_per_epoch=len(batches), epochs=60, initial_epoch=first,
    ...           shuffle=False, callbacks=[counter, checkpoint])
    """

    def __init__(self, folder, callbacks=(), settings=None, writes=True):
        super().__init__()
        check_folder("folder", folder)
        self._folder = folder
        self._stateful = [c for c in _checked(callbacks) if hasattr(c, "get_state")]
        self._settings = _as_json(settings)
        if not isinstance(writes, bool):
            raise ValueError(f"`writes` must be True or False. Received: {writes=}")
        self._writes = writes
        self.epoch = []

    def restore(self, model):
        """Restore a model and the callbacks from the checkpoint, if there is one.

        Args:
            model: a built and compiled `keras.Model`.

        Returns:
            The epoch to continue with, 0 if there is no checkpoint.

        Raises:
            ValueError: a checkpoint of a run with other settings, of another network or optimizer,
                or one that cannot be read.
        """
        if not model.built or getattr(model, "optimizer", None) is None:
            raise ValueError(
                "`model` must be built and compiled before its run is restored: start it with "
                f"`keras.Input`, or call it, and call `compile`. Received: model={model.name!r}"
            )
        # Variables can be loaded only once they exist.
        model.optimizer.build(model.trainable_variables)
        try:
            found = checkpoint_files.load(self._folder, ".weights.h5", _FIELDS)
            return 0 if found is None else self._take_up(model, *found)
        except Exception as error:
            raise ValueError(
                f"The run in {self._folder} cannot be resumed: {str(error).rstrip('.')}. Give "
                "another folder to start again."
            ) from error

    def _take_up(self, model, path, state):
        self._check(state["settings"])
        self._check_optimizer(model, state)
        # By order, like weights, because Keras' names contain numbers that depend on the process.
        random_layers = dict(zip(random_state(model), state["random_state"], strict=True))
        check_random_state(model, random_layers)
        if state["epochs"][-1:] != [state["epoch"] - 1]:
            raise ValueError("'epochs' does not end with the epoch before 'epoch'")
        if not all(isinstance(values, list) for values in state["history"].values()):
            raise ValueError("'history' is no dict of lists")
        for callback, of_callback in zip(self._stateful, state["callbacks"], strict=True):
            try:
                callback.set_state(of_callback)
            except (LookupError, TypeError, AttributeError, ValueError) as error:
                name = type(callback).__name__
                raise ValueError(f"the state of {name} is damaged ({error!r})") from error
        with warnings.catch_warnings():
            # Keras would continue with a fresh optimizer.
            warnings.filterwarnings("error", message="Skipping variable loading for optimizer")
            model.load_weights(path)
        set_random_state(model, random_layers)
        self.epoch, self.history = state["epochs"], state["history"]
        return state["epoch"]

    def _check(self, found):
        both = {**found, **self._settings}
        # As text, because NaN is not equal to NaN.
        names = [n for n in both if _text(found.get(n)) != _text(self._settings.get(n))]
        if names:
            old, new = (
                ", ".join(f"{name}={settings.get(name)}" for name in sorted(names))
                for settings in (found, self._settings)
            )
            raise ValueError(f"it was started with {old}, not {new}")

    def _check_optimizer(self, model, state):
        """Optimizers of two classes may have variables of the same shapes."""
        name = optimizer_name(model.optimizer)
        # A checkpoint of an earlier version does not have it.
        found = state.get("optimizer", name)
        if found != name:
            raise ValueError(f"it was started with the optimizer {found}, not {name}")

    def on_train_begin(self, logs=None):
        """Keep the restored history."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if self._writes:
            self.save()

    def save(self):
        """Save the state after the last epoch of the history."""
        state = {
            "epoch": self.epoch[-1] + 1,
            "settings": self._settings,
            "optimizer": optimizer_name(self.model.optimizer),
            "random_state": list(random_state(self.model).values()),
            "callbacks": [callback.get_state() for callback in self._stateful],
            "epochs": self.epoch,
            "history": self.history,
        }
        checkpoint_files.save(self._folder, ".weights.h5", self._write_weights, state)

    def _write_weights(self, path):
        # On a full disk, HDF5 ends the process with a segmentation fault.
        memory = _InMemory()
        self.model.save_weights(memory)
        path.write_bytes(memory.getbuffer())


class _InMemory(io.BytesIO):
    """A buffer for `save_weights`, which requires a name with a certain ending."""

    def __str__(self):
        return "memory.weights.h5"


def _checked(callbacks):
    listed = isinstance(callbacks, (list, tuple))
    if not listed or not all(isinstance(c, keras.callbacks.Callback) for c in callbacks):
        raise ValueError(f"`callbacks` must be a list of callbacks. Received: {callbacks=}")
    return callbacks


def _as_json(settings):
    """Settings after a round trip through JSON: tuples become lists."""
    try:
        found = json.loads(_text({} if settings is None else settings))
    except (TypeError, ValueError) as error:
        raise ValueError(f"`settings` must be JSON-serializable: {error}. {settings=}") from error
    if not isinstance(found, dict):
        raise ValueError(f"`settings` must be a dict. Received: {settings=}")
    return found


def _text(value):
    return json.dumps(value, sort_keys=True)
