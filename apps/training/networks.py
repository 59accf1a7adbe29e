"""From flags to a network."""

import keras

import keras_sparse
from apps.training.flags import OF_MODELS
from keras_sparse import models

_RESNETS = ("resnet_18", "resnet_50")
# Smaller images would be gone after the strides of the first layers.
_IMAGENET_PIXELS = 64


def network(task, values):
    """The network for a task, with the start that the seed gives.

    Args:
        task: what has `input_shape` and `classes`.
        values: the `FlagValues`.

    Returns:
        A functional `keras.Model` that is not compiled.

    Raises:
        ValueError: images that the network cannot take.
    """
    # Before an initializer is made, which draws its seed then.
    keras.utils.set_random_seed(values.seed)
    arguments = {
        flag: values[flag].value
        for flag in ("width", *OF_MODELS[values.model])
        if values[flag].value
    }
    if values.model in _RESNETS:
        large = task.input_shape[0] >= _IMAGENET_PIXELS
        arguments["stem"] = "imagenet" if large else "cifar"
    if values.l2:
        arguments["kernel_regularizer"] = keras.regularizers.L2(values.l2)
    scale = _init_scale(values)
    if scale:
        arguments["kernel_initializer"] = keras_sparse.ScaledUniform(scale, values.init_bound)
    build = getattr(models, values.model)
    return build(input_shape=task.input_shape, classes=task.classes, **arguments)


def _init_scale(values):
    if values.init_scale is not None:
        return values.init_scale
    return 3.0 if values.optimizer == "rda" and values.form == "published" else 0.0
