"""Gives a model new weights, to train it from scratch."""

import keras

from keras_sparse.cloning import uncompiled_clone
from keras_sparse.compression.recovery import compile_like
from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.optimizer_copies import optimizer_like
from keras_sparse.training_steps import check_training_steps
from keras_sparse.variables import layers_of_type


def reinitialized(model, like=None):
    """Makes a model with the same architecture and new weights, to train it from scratch.

    A compressed architecture that is trained from scratch for long enough may be as accurate as
    with the weights kept by the compression. Train this model too, to find out.

    Args:
        model: a built `keras.Model`, such as `result.model` of `compress`; it is not changed.
        like: a compiled `keras.Model`, such as the model that was compressed. Its loss, metrics and
            optimizer are used. Defaults to `model`.

    Returns:
        A compiled `keras.Model` with a new optimizer. Weights that are not trained are those of
        `model`: frozen layers and adapted states of preprocessing layers.

    Raises:
        ValueError: a layer cannot be made again from its config, or `like` is not compiled, or
            overrides a part of Keras' training, such as `train_step`.

    Example:

    >>> result = keras_sparse.compress(model, data, target={"macs": 0.5}, epochs=12)
    >>> scratch = keras_sparse.compression.reinitialized(result.model, like=model)
    >>> scratch.fit(x_train, y_train, epochs=12)

    Reference:
        Liu et al., Rethinking the value of network pruning, arXiv 1810.05270.
    """
    if like is None:
        like = model
    else:
        check_training_steps(like)
    if getattr(like, "optimizer", None) is None:
        raise ValueError(f"The model {like.name!r} has no optimizer: call `model.compile` before.")
    try:
        new = uncompiled_clone(model)
    except Exception as error:
        raise ValueError(
            f"The model {model.name!r} cannot be made again from its config: {error}"
        ) from error
    layers = zip(*(layers_of_type(m, keras.Layer) for m in (model, new)), strict=True)
    for layer, fresh in layers:
        if layer.weights and not isinstance(layer, keras.Model) and not _is_trained(layer):
            fresh.set_weights(layer.get_weights())
    compile_like(new, like, optimizer_like(bare_optimizer(like.optimizer)))
    return new


def _is_trained(layer):
    norm = isinstance(layer, keras.layers.BatchNormalization)
    return bool(layer.trainable and (norm or layer.trainable_variables))
