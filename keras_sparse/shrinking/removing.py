"""Surgery on a compiled model, with the state of its optimizer."""

import contextlib

import keras
import numpy as np

from keras_sparse import surgery
from keras_sparse.channels import channel_weight, layers_with_channels
from keras_sparse.channels.names import by_name
from keras_sparse.random_state import random_state, set_random_state
from keras_sparse.variables import copied, layers_of_type, numbered_paths


@contextlib.contextmanager
def zeroed(model, dead):
    """Sets the incoming weights of dead channels to zero, and restores them after the block.

    Args:
        model: a built model; it is changed in place.
        dead: `{layer name: bool array (channels,)}`, names as `keras_sparse.channels` gives them.
    """
    before = []
    try:
        layers = _scored_layers(model)
        for name, mask in dead.items():
            variable, axes = _leading_weight(layers[name])
            values = copied(variable)
            before.append((variable, values))
            shape = [1] * values.ndim
            for axis in axes:
                shape[axis] = values.shape[axis]
            variable.assign(np.where(mask.reshape(shape), 0.0, values))
        yield
    finally:
        for variable, values in before:
            variable.assign(values)


def _scored_layers(model):
    """`{name: layer}` of the layers that criteria on weights score."""
    normalisations = layers_of_type(model, keras.layers.BatchNormalization)
    return {**by_name(normalisations), **by_name(layers_with_channels(model))}


def _leading_weight(layer):
    """The weight that makes a layer's channels constant if it is zero, and its channel axes."""
    if isinstance(layer, keras.layers.BatchNormalization):
        return layer.gamma, (-1,)
    return channel_weight(layer)


def remove_dead(model, dead, verify=True):
    """A copy of a model without its dead channels, compiled, with the optimizer's state.

    Args:
        model: a compiled and trained `keras.Model`.
        dead: `{layer name: bool array (channels,)}`.
        verify: the inputs to compare on; see `surgery.remove_dead_channels`.

    Returns:
        `(compact, report)`: a compiled model and the `surgery.Report`. `model` is not changed.
    """
    with zeroed(model, dead):
        compact, report = surgery.remove_dead_channels(model, verify=verify)
        optimizer = surgery.slice_optimizer(model.optimizer, report, compact)
    set_random_state(compact, random_state(model))
    compile_like(model, compact, optimizer)
    return compact, report


def followed(model, compact, report):
    """The remaining channels of the scored layers, and the layers' new names.

    Layers of nested models get new names, because the models are inlined.

    Args:
        model, compact, report: the argument and the results of `remove_dead`.

    Returns:
        `(kept, names)`: `{name in model: indices}`, empty for a removed layer, and
        `{name in model: name in compact}`.
    """
    olds = {name: _leading_weight(layer) for name, layer in _scored_layers(model).items()}
    paths = numbered_paths(model)
    by_path = {paths[id(weight)]: name for name, (weight, _) in olds.items() if weight is not None}
    kept, names = {name: np.zeros(0, int) for name in olds}, {}
    for new_name, layer in _scored_layers(compact).items():
        weight, axes = _leading_weight(layer)
        part = None if weight is None else report.slices.get(weight.path)
        name = by_path.get(part.source) if part else None
        if name is not None:
            kept[name], names[name] = _kept_channels(part, axes), new_name
    return kept, names


def _kept_channels(part, axes):
    """Indices of the channels, along `axes`, that a `VariableSlice` keeps."""
    shape = [1] * len(part.shape)
    for axis in axes:
        shape[axis] = part.shape[axis]
    channels = np.arange(np.prod(shape)).reshape(shape)
    return np.unique(part(np.broadcast_to(channels, part.shape)))


def compile_like(model, compact, optimizer):
    """Compile with the loss, the metrics and the options of another model."""
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    compact.compile(optimizer=optimizer, auto_scale_loss=scaled, **compile_arguments(model))


def compile_arguments(model):
    """The arguments of a model's `compile` except the optimizer, as new objects.

    Raises:
        ValueError: the model is not compiled, or an argument cannot be made again.
    """
    if not model.compiled:
        raise ValueError("`model` is not compiled: call `model.compile(...)` first.")
    config = model.get_compile_config()
    config.pop("optimizer", None)
    try:
        return keras.saving.deserialize_keras_object(config)
    except Exception as error:
        raise ValueError(
            "The compact model is compiled as `model` is, and its loss or metrics cannot be made "
            "again from their config. Decorate them with `@keras.saving."
            f"register_keras_serializable()`. Making them ended with: {error}"
        ) from error
