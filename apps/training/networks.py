"""Making the network from the part `Network`."""

import keras

import keras_sparse
from apps.training.parts import OF_MODELS
from keras_sparse import models

_RESNETS = ("resnet_18", "resnet_50")
# Smaller images would have no pixels left after the strides of the first layers.
_IMAGENET_PIXELS = 64


def network(task, settings, seed):
    """The network for a task, initialized by the seed.

    Args:
        task: an object with `input_shape` and `classes`.
        settings: the `Network`.
        seed: int.

    Returns:
        A functional `keras.Model` that is not compiled.

    Raises:
        ValueError: images that do not fit the network.
    """
    # Before initializers are made, because they draw their seeds then.
    keras.utils.set_random_seed(seed)
    arguments = {}
    if settings.width:
        arguments["width"] = settings.width
    if settings.l2:
        arguments["kernel_regularizer"] = keras.regularizers.L2(settings.l2)
    if settings.init_scale:
        arguments["kernel_initializer"] = keras_sparse.ScaledUniform(
            settings.init_scale, settings.init_bound
        )
    build = settings.model
    if isinstance(build, str):
        own = {name: getattr(settings, name) for name in OF_MODELS[settings.model]}
        arguments |= {name: value for name, value in own.items() if value}
        if settings.model in _RESNETS:
            large = task.input_shape[0] >= _IMAGENET_PIXELS
            arguments["stem"] = "imagenet" if large else "cifar"
        build = getattr(models, settings.model)
    return build(input_shape=task.input_shape, classes=task.classes, **arguments)
