"""Optimizers for training a model after channels were removed."""

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.compression.data import count
from keras_sparse.compression.probe import compile_arguments, scaled_like

# Peak learning rate of a recovery, as a fraction of that of the base training. At the full rate, a
# recovery of a dozen epochs loses accuracy (docs/compression.md).
RATE_SHARE = 0.3


def base_learning_rate(optimizer):
    """The largest learning rate that an optimizer has had so far.

    Args:
        optimizer: a `keras.optimizers.Optimizer`. A learning rate schedule is evaluated from step 0
            to the optimizer's current step. Steps are batches, also if gradients are accumulated.

    Returns:
        A float.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = _keras.learning_rate(optimizer)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(keras.ops.convert_to_numpy(rate() if callable(rate) else rate))
    last = int(keras.ops.convert_to_numpy(_keras.batches(optimizer))) if optimizer.built else 0
    steps = np.unique(np.linspace(0, last, 100).astype(int))
    return max(float(keras.ops.convert_to_numpy(rate(step))) for step in steps)


def recovery_optimizer(optimizer, peak, steps, warmup):
    """Makes an optimizer like the one of the base training, with another learning rate.

    The rate rises to its peak, and then falls to 0.

    Args:
        optimizer: the optimizer of the base training; it is not changed.
        peak: float, the largest learning rate.
        steps: int, steps until the rate has fallen to 0; None for a constant rate.
        warmup: int, steps of linear rise at the beginning.

    Returns:
        A new optimizer of the same class.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = peak
    if steps is not None:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else peak, max(steps - warmup, 1), warmup_target=peak, warmup_steps=warmup
        )
    return optimizer_like(optimizer, rate)


def optimizer_like(optimizer, rate=None):
    """A new optimizer with the config of another, and its learning rate unless one is given."""
    if rate is None:
        rate = _keras.learning_rate(optimizer)
        rate = rate if callable(rate) else float(keras.ops.convert_to_numpy(rate))
    config = _keras.config_without_rate(optimizer)
    return type(optimizer).from_config({**config, "learning_rate": rate})


def compile_like(model, original, optimizer):
    """Compiles a model with the loss, the metrics and the loss scaling of another."""
    optimizer = scaled_like(optimizer, original)
    model.compile(optimizer=optimizer, auto_scale_loss=False, **compile_arguments(original))


def steps_per_epoch(data, batch_size):
    """Number of steps of an epoch.

    Raises:
        ValueError: the data set has no known length.
    """
    samples = count(data)
    if samples is not None:
        return -(-samples // batch_size)
    try:
        return len(data)
    except TypeError as error:
        raise ValueError(
            "`data` does not tell how many batches it has, which the learning rate schedule needs: "
            "give arrays, a `PyDataset`, or a `tf.data.Dataset` of known length; one of unknown "
            "length says it by `.apply(tf.data.experimental.assert_cardinality(n))`, n batches."
        ) from error
