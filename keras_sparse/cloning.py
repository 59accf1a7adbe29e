"""Clones of compiled models."""

import keras


def uncompiled_clone(model, clone_function=None, input_tensors=None):
    """A clone of a model with new weights that is not compiled.

    `keras.models.clone_model` also compiles the clone, and fails if the loss, a metric or the
    optimizer cannot be made again from its config.

    Args:
        model: a `keras.Model`; it is not changed.
        clone_function, input_tensors: as in `keras.models.clone_model`.
    """
    compiled = model.compiled
    try:
        model.compiled = False
        return keras.models.clone_model(model, input_tensors, clone_function)
    finally:
        model.compiled = compiled
