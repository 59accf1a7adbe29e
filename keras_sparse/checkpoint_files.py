"""A training run's folder: a model as it is now, and what else belongs to the run."""

import json
import pathlib

import numpy as np

from keras_sparse.files import remove_left_behind, replacing

_STATE = "state.json"


def save(folder, suffix, write, state):
    """Write the state of a run; the one before stays valid until this one is whole.

    Args:
        folder: a folder; it is made if need be.
        suffix: of the model's file, `".keras"` or `".weights.h5"`.
        write: function that writes the model to a path, `model.save` or `model.save_weights`.
        state: dict of what JSON knows, with the key `"epoch"`.

    Raises:
        ValueError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"epoch_{state['epoch']:05d}{suffix}"
    with replacing(folder / name) as temporary:
        write(temporary)
    # From here on the new state is the one that counts.
    with replacing(folder / _STATE) as temporary:
        text = json.dumps({**state, "model": name}, default=_plain)
        temporary.write_text(text, encoding="utf-8")
    for old in folder.glob("epoch_*"):
        if old.name != name:
            old.unlink()


def load(folder):
    """What `save` wrote last.

    Args:
        folder: a folder that may not exist.

    Returns:
        `(path of the model's file, state)`, or None if nothing was saved there.
    """
    folder = pathlib.Path(folder)
    remove_left_behind(folder)
    path = folder / _STATE
    if not path.exists():
        return None
    state = json.loads(path.read_text(encoding="utf-8"))
    return folder / state["model"], state


def _plain(value):
    """NumPy's numbers and arrays, which callbacks may log, as JSON's."""
    return np.asarray(value).tolist()
