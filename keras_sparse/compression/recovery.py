"""Optimizers for training a model after channels were removed."""

import functools
import inspect
import numbers
import warnings

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.compression.data import count
from keras_sparse.compression.probe import compile_arguments
from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.optimizer_copies import optimizer_like, scaled_like
from keras_sparse.weight_decay import exclude_like, same_weights

# Peak learning rate of a recovery, as a fraction of that of the base training, for fewer epochs
# than `FULL_RATE_EPOCHS`. With more epochs, the full rate is better: see docs/compression.md.
RATE_SHARE, FULL_RATE_EPOCHS = 0.3, 8
# A rate of at most this share of the default of the optimizer's class was lowered in the training,
# for example by a callback, twice by a factor of 10: hardly anything is learned at such a rate.
_LOW_SHARE = 0.01
# The default of most of Keras' optimizers, for a class that has none.
_DEFAULT_RATE = 1e-3


def default_peak(model, epochs):
    """The peak of the learning rate if the user gives none.

    Args:
        model: a compiled `keras.Model`.
        epochs: int, the epochs of the recovery.

    Returns:
        A float: `base_learning_rate`, or `RATE_SHARE` times that if the recovery is short.

    Raises:
        ValueError: the base rate is 0. It is 0 before the first step of a schedule with a warm-up.

    Warns:
        UserWarning: the base rate is so low that the model would hardly learn.
    """
    optimizer = bare_optimizer(model.optimizer)
    rate = base_learning_rate(optimizer)
    schedule = _keras.learning_rate(optimizer)
    found = f"the learning rate of the model's {type(optimizer).__name__}"
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        steps = f"in the {_steps_done(optimizer)} steps of its schedule {type(schedule).__name__}"
        found = f"the largest learning rate of the model's {type(optimizer).__name__} {steps}"
    share = RATE_SHARE if epochs < FULL_RATE_EPOCHS else 1.0
    times = f"{share} times " if share < 1 else ""
    advice = f"`learning_rate=`, such as {times}the largest rate of the model's training."
    if not rate > 0:
        raise ValueError(
            f"`learning_rate` was not given, and {found} is {rate:g}. A schedule with a warm-up "
            f"begins at 0, and a callback may have set 0. Give {advice}"
        )
    if np.float32(rate) <= np.float32(_LOW_SHARE * _default_rate(optimizer)):
        warnings.warn(
            f"The peak of the learning rate is {share * rate:.3g}: {times}{found}. The compact "
            f"model hardly learns at such a rate. If a callback lowered it, give {advice}",
            stacklevel=3,
        )
    return share * rate


def _default_rate(optimizer):
    """The default learning rate of an optimizer's class."""
    given = inspect.signature(type(optimizer)).parameters.get("learning_rate")
    default = given and given.default
    return default if isinstance(default, numbers.Real) and default else _DEFAULT_RATE


def base_learning_rate(optimizer):
    """The learning rate of an optimizer now, or the largest that its schedule has had so far.

    An optimizer does not tell what a callback has changed, so the largest rate of a training with
    `ReduceLROnPlateau` is not known.

    Args:
        optimizer: a `keras.optimizers.Optimizer`. A learning rate schedule is evaluated from step 0
            to the optimizer's current step. Steps are batches, also if gradients are accumulated.

    Returns:
        A float.
    """
    optimizer = bare_optimizer(optimizer)
    rate = _keras.learning_rate(optimizer)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return float(keras.ops.convert_to_numpy(rate() if callable(rate) else rate))
    steps = np.unique(np.linspace(0, _steps_done(optimizer), 100).astype(int))
    return max(float(keras.ops.convert_to_numpy(rate(step))) for step in steps)


def _steps_done(optimizer):
    return int(keras.ops.convert_to_numpy(_keras.batches(optimizer))) if optimizer.built else 0


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
    optimizer = bare_optimizer(optimizer)
    rate = peak
    if steps is not None:
        rate = keras.optimizers.schedules.CosineDecay(
            0.0 if warmup else peak, max(steps - warmup, 1), warmup_target=peak, warmup_steps=warmup
        )
    return optimizer_like(optimizer, rate)


def compile_like(model, original, optimizer, sources=None):
    """Compiles a model with the loss, the metrics and the loss scaling of another.

    What the optimizer of `original` excludes from weight decay or from sparsity is excluded by
    `optimizer` too.

    Args:
        model: a `keras.Model`, without some of the channels of `original`.
        original: a compiled `keras.Model`; one without an optimizer excludes nothing.
        optimizer: a `keras.optimizers.Optimizer` for `model`.
        sources: `{path of a weight of model: path in original}`, see `sources_of`. With None, the
            weights of layers with the same name belong together.
    """
    if original.optimizer is not None:
        pairs = functools.cache(lambda: _pairs(model, original, sources))
        exclude_like(optimizer, original.optimizer, pairs)
        _choose_like(optimizer, original.optimizer, model, pairs)
    optimizer = scaled_like(optimizer, original.optimizer)
    model.compile(optimizer=optimizer, auto_scale_loss=False, **compile_arguments(original))


def sources_of(report, before=None):
    """`{path of a weight: path of the weight in the given model}`, for a model that was cut.

    Args:
        report: the `surgery.Report` of the cut.
        before: the same dict of the model that was cut, if that was cut before.
    """
    found = {path: part.source for path, part in report.slices.items()}
    return found if before is None else {path: before.get(own) for path, own in found.items()}


def _pairs(model, original, sources):
    """`[(weight of model, weight of original)]` for weights that belong together."""
    if sources is None:
        return same_weights(model, original)
    olds = {weight.path: weight for weight in original.weights}
    pairs = ((weight, olds.get(sources.get(weight.path))) for weight in model.weights)
    return [(new, old) for new, old in pairs if old is not None]


def _choose_like(optimizer, given, model, pairs):
    """Excludes from sparsity what the optimizer of another model excludes.

    A target sparsity is a share of the compact model alone: its training is a new one.
    """
    optimizer = bare_optimizer(optimizer)
    if not (hasattr(optimizer, "choose_like") and optimizer.exclude):
        return
    paths = {new.path: old.path for new, old in pairs()}
    variables = model.trainable_variables
    sources = [paths.get(variable.path) for variable in variables]
    optimizer.choose_like(bare_optimizer(given), variables, sources, of_the_whole=False)


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
