"""The folder of a training run: the model and the trainer's state."""

import pathlib

import keras

from keras_sparse import checkpoint_files
from keras_sparse.loss_scaling import optimizer_name

_FIELDS = {
    "shapes": list,
    "random_state": dict,
    "dead_channels": dict,
    "dead_before": int,
    "shrinks": list,
    "history": dict,
}


def save(folder, model, state):
    """Write the state of a run; see `checkpoint_files.save`."""
    checkpoint_files.save(folder, ".keras", model.save, state)


def load(folder):
    """Load what `save` wrote last.

    Args:
        folder: a folder that may not exist.

    Returns:
        `(model, state)`, or None if nothing was saved there.

    Raises:
        ValueError: a state that cannot be read.
    """
    try:
        found = checkpoint_files.load(folder, ".keras", _FIELDS)
    except Exception as error:
        raise ValueError(damaged(folder, error)) from error
    try:
        return found and (keras.saving.load_model(found[0]), found[1])
    except Exception as error:
        raise ValueError(
            f"{damaged(folder, error)} Objects of your own must be registered by "
            "`@keras.saving.register_keras_serializable()` and imported first."
        ) from error


def shapes(model):
    """Shapes of the inputs and outputs, as JSON has them; none for a subclassed model."""
    tensors = [*getattr(model, "inputs", []), *getattr(model, "outputs", [])]
    return [list(tensor.shape) for tensor in tensors]


def given(model):
    """What tells a model from another one with the same inputs and outputs, as JSON has it."""
    return {
        "weights": [list(weight.shape) for weight in model.weights],
        "optimizer": optimizer_name(model.optimizer),
    }


def damaged(folder, error):
    """The message for a run that cannot be resumed."""
    return (
        f"The run in {pathlib.Path(folder)} cannot be resumed: {str(error).rstrip('.')}. To start "
        f"again, give another folder. Received: folder={str(folder)!r}."
    )
