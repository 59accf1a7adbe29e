"""A training run's folder: the model as it is now, and what the trainer knows."""

import json
import pathlib

import keras
import numpy as np

from keras_sparse.files import replacing

_STATE = "state.json"


def save(folder, model, state):
    """Write the state of a run; the one before stays valid until this one is whole.

    Args:
        folder: a folder; it is made if need be.
        model: a compiled model, saved with its optimizer.
        state: dict of what JSON knows, with the key `"epoch"`.

    Raises:
        ValueError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"epoch_{state['epoch']:05d}.keras"
    with replacing(folder / name) as temporary:
        model.save(temporary)
    # From here on the new state is the one that counts.
    with replacing(folder / _STATE) as temporary:
        text = json.dumps({**state, "model": name}, default=_plain)
        temporary.write_text(text, encoding="utf-8")
    for old in folder.glob("epoch_*.keras"):
        if old.name != name:
            old.unlink()


def load(folder):
    """What `save` wrote last.

    Args:
        folder: a folder that may not exist.

    Returns:
        `(model, state)`, or None if nothing was saved there.

    Raises:
        ValueError: a state that cannot be read.
    """
    path = pathlib.Path(folder) / _STATE
    if not path.exists():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return keras.saving.load_model(path.parent / state["model"]), state
    except Exception as error:
        raise ValueError(
            f"The run in {path.parent} cannot be resumed ({error}). Objects of your own must be "
            "registered by `@keras.saving.register_keras_serializable()` and imported first; to "
            f"start anew, delete the folder or give another. Received: folder={str(folder)!r}"
        ) from error


def _plain(value):
    """NumPy's numbers and arrays, which callbacks may log, as JSON's."""
    return np.asarray(value).tolist()
