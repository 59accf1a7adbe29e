"""Objects as JSON-serializable values, by which a folder tells one compression from another."""

import inspect

import numpy as np

from keras_sparse import _keras
from keras_sparse.loss_scaling import bare_optimizer


def compile_settings(model):
    """The loss and the optimizer that a model was compiled with, without the learning rate."""
    optimizer = bare_optimizer(model.optimizer)
    return {
        "loss": described(model.loss),
        "loss_weights": described(_keras.compile_config(model)["loss_weights"]),
        "optimizer": _object(optimizer, _keras.config_without_rate(optimizer)),
    }


def described(value):
    """A value of a config, an object with a config, or a function, in the same way everywhere."""
    if isinstance(value, dict):
        return {str(key): described(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [described(own) for own in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if hasattr(value, "get_config"):
        return _object(value, value.get_config())
    return getattr(value, "__qualname__", type(value).__name__)


def _object(value, config):
    return {"class_name": type(value).__name__, **_without_names(described(config))}


def _without_names(config):
    """Without the names of objects, which Keras numbers in each process."""
    if isinstance(config, list):
        return [_without_names(own) for own in config]
    if isinstance(config, dict):
        return {key: _without_names(own) for key, own in config.items() if key != "name"}
    return config


def check_config(value, name):
    """Raises a `ValueError` if an object made from the config of another would differ from it.

    Args:
        value: an object with a `get_config`.
        name: str, what it is, for the message.
    """
    if type(value).__module__.startswith("keras."):
        return
    lost = {
        p.name: getattr(value, p.name)
        for p in _not_in_config(value)
        if _differs(getattr(value, p.name, p.default), p.default)
    }
    if lost:
        raise ValueError(
            f"{name} is a {type(value).__name__}, whose `get_config` does not return {lost}. "
            "Return all arguments of its `__init__` there: `compress` goes by the config."
        )


def _not_in_config(value):
    """The parameters of `__init__` that `get_config` does not return."""
    kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    parameters = inspect.signature(type(value)).parameters.values()
    config = value.get_config()
    return [p for p in parameters if p.kind not in kinds and p.name not in config]


def _differs(value, default):
    if default is inspect.Parameter.empty or type(value) is not type(default):
        return False
    return isinstance(value, (bool, int, float, str)) and value != default


def check_importance(importance):
    """Raises a `ValueError` if two of such a kind cannot be told apart by their configs.

    Args:
        importance: an `Importance`, or a criterion of `channels`.
    """
    missing = [p.name for p in _not_in_config(importance)]
    if missing:
        raise ValueError(
            f"`importance` has arguments that its `get_config` does not return: {missing}. With "
            "them `folder` tells whether its scores are those of the same importance: return them "
            f"there. Received: importance of type {type(importance).__name__}"
        )
