"""A loss on its way to the process that trains; one of the user's own goes by its module."""

import importlib
import sys
from typing import Any

import keras


def to_settings(loss: Any) -> dict:
    """What `from_settings` needs to make the loss again, as JSON.

    Args:
        loss: a loss as for `model.compile`.

    Raises:
        ValueError: another process cannot import the loss.
    """
    if isinstance(loss, (dict, list, tuple)):
        each = list(loss.values()) if isinstance(loss, dict) else list(loss)
        if len(each) != 1:
            raise ValueError(
                "`loss` must be one loss, which all outputs are trained with. Received: "
                f"{len(each)} losses"
            )
        (loss,) = each
    loss = keras.losses.get(loss)
    definition = loss if hasattr(loss, "__qualname__") else type(loss)
    module, name = definition.__module__, definition.__qualname__
    if module.split(".")[0] == "keras":
        return {"loss": keras.losses.serialize(loss), "loss_module": None}
    found = getattr(sys.modules.get(module), name, None)
    if found is not definition or module == "__main__":
        raise ValueError(
            f"`loss` must be a loss of Keras, or a function or class at the top of a module, which "
            f"the training's process can import. Received: {name} of {module}"
        )
    return {
        "loss": keras.losses.serialize(loss),
        "loss_module": module,
        "loss_name": name,
        "path": sys.path,
    }


def from_settings(settings: dict) -> Any:
    """The loss of `to_settings`.

    Args:
        settings: the dictionary.
    """
    own = None
    if settings["loss_module"]:
        sys.path += [folder for folder in settings["path"] if folder not in sys.path]
        module = importlib.import_module(settings["loss_module"])
        found = getattr(module, settings["loss_name"])
        own = {keras.saving.get_registered_name(found): found, settings["loss_name"]: found}
    return keras.losses.deserialize(settings["loss"], custom_objects=own)
