"""The files of a training."""

import importlib.util
import pathlib
import shutil

import keras
import numpy as np

from apps import program
from apps.training.parts import FILES, TENSORBOARD
from apps.training.settings import require
from export import ExportError, run_folder
from export.quantize import variants
from keras_sparse.callbacks import MaskHistory
from keras_sparse.files import replacing

_TOLD = ("dataset", "model", "optimizer", "epochs", "seed")


class HistoryWriter(keras.callbacks.Callback):
    """Writes the table of all epochs after each epoch."""

    def __init__(self, path):
        super().__init__()
        self._path = path

    def on_epoch_end(self, epoch, logs=None):
        run_folder.write_history(self.model.history.history, self._path)


def check(config):
    """Raise a ValueError for settings of the output that do not fit this backend."""
    settings = config.output
    wanted = "omitted on this backend: on TensorFlow run python -m apps.compress on model.keras"
    require(_on_tensorflow() or not settings.export, "export", wanted, settings)
    kinds = exports(config) or not settings.quantize
    require(kinds, "quantize", "omitted without --export", settings)
    if config.watching.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--tensorboard needs the package: pip install tensorboard")


def exports(config):
    """Whether dead channels are removed and the model is converted and timed after training."""
    return _on_tensorflow() if config.output.export is None else config.output.export


def _on_tensorflow():
    return keras.backend.backend() == "tensorflow"


def folder(config):
    """`pathlib.Path` of the run's folder."""
    return pathlib.Path(config.output.out or f"runs/{config.data.dataset}")


def remove_earlier(folder):
    """Remove the files and logs that an earlier training left in the folder."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    if (folder / TENSORBOARD).exists():
        shutil.rmtree(folder / TENSORBOARD)


def write(model, history, task, config, told, dense=None):
    """Write the trained network and its report.

    Args:
        model: the trained `keras.Model`.
        history: dict from a log's name to its values by epoch.
        task: the result of `tasks.load`.
        config: the `TrainConfig`.
        told: dict of further entries of the report: `command`, the command line, and
            `missed_target`, if there is one.
        dense: `(model, history)` of the baseline, or None.

    Raises:
        UsageError: the network cannot be converted; it is saved in any case.
    """
    facts = {name: config.settings[name] for name in _TOLD} | told
    test = run_folder.TestSet(*task.test)
    out = folder(config)
    if exports(config):
        kinds = variants.checked_kinds(config.output.quantize)
        images, _ = task.samples
        try:
            run_folder.deliver(
                model, history, test, out, facts, quantize=kinds, x_train=images, dense=dense
            )
        except ExportError as error:
            raise program.UsageError(
                f"The trained network is {out / 'model.keras'}; what follows failed: {error}"
            ) from error
    else:
        for name in ("report.md", "report.html"):  # of the same training, exported
            (out / name).unlink(missing_ok=True)
        run_folder.save(model, history, test, out, facts, dense=dense)


def write_masks(callbacks, path):
    """Write the record of `MaskHistory`, if it is among the callbacks.

    Each weight has an array of shape `(epochs, bytes)`, with masks packed by `np.packbits`.
    """
    for callback in callbacks:
        if isinstance(callback, MaskHistory):
            masks = {name: [epoch[name] for epoch in callback.epochs] for name in callback.sizes}
            with replacing(path) as temporary:
                np.savez_compressed(temporary, **masks)
