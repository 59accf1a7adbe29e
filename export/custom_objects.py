"""The flag `--import`: a module with a model's own layers and losses."""

import importlib
import sys

from absl import flags


def define_import():
    """Defines the flag, as one of the program's own, which `--help` lists."""
    about = "A Python module with the model's own layers and losses."
    flags.DEFINE_string("import", None, about, module_name=sys.argv[0])


def register_objects(module):
    """Registers the classes and functions of a module in Keras by name.

    Args:
        module: its name, the value of `--import`; None to do nothing.

    Raises:
        ValueError: there is no such module, or it cannot be imported.
    """
    import keras

    if not module:
        return
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--import={module} cannot be imported: {error}. Run this in the folder where it is."
        ) from error
    for name, value in vars(found).items():
        if callable(value) and getattr(value, "__module__", None) == found.__name__:
            keras.saving.get_custom_objects()[name] = value
