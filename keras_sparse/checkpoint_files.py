"""The folder of a training run: the model and the other state of the run."""

import json
import pathlib

import numpy as np

from keras_sparse.files import remove_left_behind, replacing

_STATE = "state.json"


def save(folder, suffix, write, state):
    """Write the state of a run; the previous one stays valid until this one is complete.

    Args:
        folder: a folder; it is made if it does not exist.
        suffix: suffix of the model's file, `".keras"` or `".weights.h5"`.
        write: function that writes the model to a path, `model.save` or `model.save_weights`.
        state: JSON-serializable dict, with the key `"epoch"`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # An epoch may be saved again, and the file of the valid state must stay until the next is.
    valid = _valid_name(folder)
    name = next(name for name in _model_names(state["epoch"], suffix) if name != valid)
    with replacing(folder / name) as temporary:
        write(temporary)
    # From here on the new state is valid.
    with replacing(folder / _STATE) as temporary:
        text = json.dumps({**state, "model": name}, default=_plain)
        temporary.write_text(text, encoding="utf-8")
    for old in folder.glob("epoch_*"):
        if old.name != name:
            old.unlink()


def load(folder, suffix, fields):
    """Load what `save` wrote last.

    Args:
        folder: a folder that may not exist.
        suffix: suffix of the model's file.
        fields: dict from the keys of the state, besides `"epoch"`, to their types.

    Returns:
        `(path of the model's file, state)`, or None if nothing was saved there.

    Raises:
        ValueError: a damaged state, or a model file that does not belong to it.
    """
    folder = pathlib.Path(folder)
    remove_left_behind(folder)
    path = folder / _STATE
    if not path.exists():
        return None
    state = json.loads(_own(path).read_text(encoding="utf-8"))
    if not isinstance(state, dict):
        raise ValueError(f"{_STATE} is damaged: it holds no keys and values")
    for name, kind in {"epoch": int, "model": str, **fields}.items():
        if name not in state:
            raise ValueError(f"{_STATE} is damaged: it has no {name!r}")
        if type(state[name]) is not kind:
            raise ValueError(
                f"{_STATE} is damaged: {name!r} is of type {type(state[name]).__name__}, not "
                f"{kind.__name__}"
            )
    # Other names are refused: they could lead out of the folder, or to another epoch.
    if state["epoch"] < 1 or state["model"] not in _model_names(state["epoch"], suffix):
        raise ValueError(
            f"{_STATE} is damaged: 'epoch' is {state['epoch']} and 'model' {state['model']!r}"
        )
    return _own(folder / state["model"]), state


def _model_names(epoch, suffix):
    return f"epoch_{epoch:05d}{suffix}", f"epoch_{epoch:05d}_again{suffix}"


def _valid_name(folder):
    """The name of the model's file in the state that is there; None if it cannot be read."""
    try:
        return json.loads((folder / _STATE).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _own(path):
    """The path; refuses a link."""
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name} is missing, or no file of the folder's own")
    return path


def _plain(value):
    """Convert NumPy's numbers and arrays, which callbacks may log, for JSON."""
    return np.asarray(value).tolist()
