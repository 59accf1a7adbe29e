"""New optimizers with the configuration of others."""

import keras

from keras_sparse import _keras
from keras_sparse.loss_scaling import bare_optimizer


def optimizer_like(optimizer, rate=None):
    """A new optimizer with the config of another, and its learning rate unless one is given."""
    if rate is None:
        rate = _keras.learning_rate(optimizer)
        rate = rate if callable(rate) else float(keras.ops.convert_to_numpy(rate))
    config = _keras.config_without_rate(optimizer)
    return type(optimizer).from_config({**config, "learning_rate": rate})


def copied_optimizer(optimizer):
    """A new optimizer with the config of another; a schedule or function is shared.

    Keras cannot make a learning rate again from its config if it is a function, or a schedule of a
    class that is not registered.
    """
    bare = bare_optimizer(optimizer)
    if not callable(_keras.learning_rate(bare)):
        return type(optimizer).from_config(optimizer.get_config())
    copy = optimizer_like(bare)
    return copy if bare is optimizer else scaled_like(copy, optimizer)


def scaled_like(optimizer, scaling):
    """Wraps an optimizer in loss scaling if another one, or None, scales the loss."""
    if not isinstance(scaling, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(
        optimizer,
        initial_scale=scaling.initial_scale,
        dynamic_growth_steps=scaling.dynamic_growth_steps,
        name=scaling.name,
    )
