"""Models that share the layers of the user's model, but are compiled separately."""

import contextlib

import keras

from keras_sparse import _keras
from keras_sparse.compression.descriptions import check_config
from keras_sparse.optimizer_copies import scaled_like
from keras_sparse.surgery.functional import separate
from keras_sparse.surgery.messages import one_line
from keras_sparse.training_steps import check_training_steps
from keras_sparse.variables import restored


def probe_model(model, optimizer):
    """A functional model that shares `model`'s layers and its loss.

    The user's model keeps its own optimizer and metrics. The new model has no metrics.

    Args:
        model: a compiled `keras.Model`.
        optimizer: the optimizer of the new model.

    Returns:
        A compiled `keras.Model`.

    Raises:
        ValueError: `model` has no loss.
    """
    probe = separate(model)
    optimizer = scaled_like(optimizer, getattr(model, "optimizer", None))
    probe.compile(optimizer=optimizer, auto_scale_loss=False, **loss_arguments(model))
    return probe


def loss_arguments(model):
    """The arguments that a model was compiled with, except the optimizer and the metrics.

    Returns:
        A dict of arguments for `compile`. The loss is the model's own object.

    Raises:
        ValueError: the model was not compiled with a loss, or computes it in its own way.
    """
    check_training_steps(model, ("compute_loss",))
    if not getattr(model, "compiled", False) or model.loss is None:
        raise ValueError(
            f"The model {model.name!r} has no loss: call `model.compile(loss=..., optimizer=..., "
            "metrics=...)` before, with the loss of its training."
        )
    given = _keras.compile_config(model)
    kept = {name: given[name] for name in ("loss_weights", "run_eagerly")}
    return {"loss": model.loss, **kept, "jit_compile": model.jit_compile}


def compile_arguments(model):
    """As `loss_arguments`, with the metrics; objects with a state are new.

    Raises:
        ValueError: the model was not compiled with a loss, or a metric cannot be made again.
    """
    found = loss_arguments(model)
    given = _keras.compile_config(model)
    found["steps_per_execution"] = given["steps_per_execution"]
    for name in ("metrics", "weighted_metrics"):
        found[name] = _renewed(given[name], model)
    return found


def _renewed(metrics, model):
    if isinstance(metrics, dict):
        return {name: _renewed(metric, model) for name, metric in metrics.items()}
    if isinstance(metrics, (list, tuple)):
        return [_renewed(metric, model) for metric in metrics]
    if not isinstance(metrics, keras.metrics.Metric):
        return metrics
    check_config(metrics, f"The metric {metrics.name!r} of the model {model.name!r}")
    try:
        return type(metrics).from_config(metrics.get_config())
    except Exception as error:
        raise ValueError(
            f"The metric {metrics.name!r} of the model {model.name!r} cannot be made again from "
            "its config, for the compact model: give it a `get_config` with the arguments of its "
            f"`__init__`, or compile the model without it. Making it ended with: {one_line(error)}"
        ) from error


@contextlib.contextmanager
def unfrozen(model):
    """Makes the frozen layers of a model trainable in the block, so that they get gradients.

    Frozen batch normalisation stays frozen: otherwise it would use the statistics of the batch.
    """
    layers = [(layer, layer.trainable) for layer in _keras.flatten_layers(model)]
    weights = [(weight, weight.trainable) for weight in model.weights]
    norms = keras.layers.BatchNormalization
    try:
        for layer, trainable in layers:
            layer.trainable = trainable or not isinstance(layer, norms)
        yield
    finally:
        for layer, trainable in layers:  # outer layers first, because they also set inner ones
            layer.trainable = trainable
        for weight, trainable in weights:
            weight.trainable = trainable


def unchanged(model):
    """Restores a model's weights and random states at the end of the block."""
    return restored(model.variables)
