"""Models that train in their own way."""

import keras

_STEPS = ("train_step", "test_step", "compute_loss", "compute_metrics", "compile", "fit")


def check_training_steps(model, steps=_STEPS):
    """Raises a `ValueError` if a model overrides a part of Keras' training.

    Args:
        model: a `keras.Model`.
        steps: tuple of names of methods. Defaults to all that a functional model would not have.
    """
    for name in steps:
        if getattr(type(model), name) is not getattr(keras.Model, name):
            raise ValueError(
                f"`model` overrides `{name}`, which the compact model, a plain functional one, "
                "would not have. Use Keras' own, with a loss and metrics; a task of KerasHub "
                "is trained as `keras.Model(task.input, task.output)`. "
                f"Received: model of type {type(model).__name__}"
            )
