"""Assigning a file's weights to the layers."""

import re

import h5py
import keras
import numpy as np

# The group with a model's layers in files of TensorFlow 2.12.
_OLD_LAYERS = "_layer_checkpoint_dependencies"


def text(value):
    """An attribute of an HDF5 file as str; older files have bytes."""
    return value.decode() if hasattr(value, "decode") else str(value)


def load_from_lists(part, group):
    """Assigns the weights of an HDF5 file of Keras 2, which has one list for each layer.

    Args:
        part: the model's `Part`.
        group: the file's `"model_weights"`.

    Raises:
        ValueError: they do not fit.
    """
    if len(_names(group.get("top_level_model_weights", {}))):
        raise ValueError("the model has its own weights, outside of its layers.")
    for child in part.parts:
        layer_group = group.get(child.name)
        names = [] if layer_group is None else _names(layer_group)
        variables = _trainable(child) + _non_trainable(child)
        _check_order(child, variables, names)
        _assign(child, variables, [np.asarray(layer_group[name]) for name in names])


def _names(group):
    """The names of a layer's weights; Keras 2 split long lists of them."""
    attributes = getattr(group, "attrs", {})
    if "weight_names" in attributes:
        return [text(name) for name in attributes["weight_names"]]
    pieces = []
    while f"weight_names{len(pieces)}" in attributes:
        pieces.append(attributes[f"weight_names{len(pieces)}"])
    return [text(name) for piece in pieces for name in piece]


def _trainable(part):
    """The variables in the order of `trainable_weights` in Keras 2."""
    if part.parts is None:
        return part.layer.trainable_weights
    return [variable for child in part.parts for variable in _trainable(child)]


def _non_trainable(part):
    """The variables in the order of `non_trainable_weights` in Keras 2."""
    if part.parts is None:
        return part.layer.non_trainable_weights
    return [variable for child in part.parts for variable in _non_trainable(child)]


def _check_order(part, variables, names):
    """Check the order of layers in a wrapper: it may differ, and shapes need not show this."""
    expected = [variable.name for variable in variables]
    found = [name.split("/")[-1].split(":")[0] for name in names]
    if found != expected and sorted(found) == sorted(expected):
        raise ValueError(
            f"the weights of the layer {part.name!r} ({part.kind}) are in another order than in "
            "Keras 3. Set `trainable = True` on it and save the model again."
        )


def _assign(part, variables, arrays):
    expected = [tuple(variable.shape) for variable in variables]
    found = [array.shape for array in arrays]
    if expected != found:
        raise ValueError(
            f"the layer {part.name!r} ({part.kind}) has weights of the shapes {expected} in Keras "
            f"3, and {found} in the file."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    _finish(part)


def _finish(part):
    """Makes adapted layers use the statistics that were assigned."""
    for child in part.parts or []:
        _finish(child)
    if isinstance(part.layer, keras.layers.Normalization) and part.layer.weights:
        part.layer.finalize_state()


def load_from_tree(part, group):
    """Assigns the weights of a `.keras` file of Keras 2, where each layer has a group.

    Args:
        part: the `Part` of a model or a layer.
        group: the group of the part in the file's weights.

    Raises:
        ValueError: they do not fit.
    """
    if part.parts is None:
        _load_layer(part, group)
        return
    key = "layers" if "layers" in group else _OLD_LAYERS
    for child, child_group in _by_class(part.parts, lambda child: child.kind, group.get(key, {})):
        load_from_tree(child, child_group)


def _by_class(items, kind, group):
    """Pairs items with groups in order; groups are named after the class and numbered."""
    found = {}
    for name in group:
        stem, number = re.fullmatch(r"(.*?)(?:_(\d+))?", name).groups()
        found.setdefault(stem, []).append((int(number or 0), group[name]))
    queues = {stem: sorted(groups, key=lambda pair: pair[0]) for stem, groups in found.items()}
    for item in items:
        queue = queues.get(_snake_case(kind(item)))
        yield item, queue.pop(0)[1] if queue else {}


def _snake_case(name):
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name.split(">")[-1])
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _load_layer(part, group):
    expected = len(part.layer.weights)
    found = _count(group)
    if expected != found:
        raise ValueError(
            f"the layer {part.name!r} ({part.kind}) has {expected} weights in Keras 3, and {found} "
            "in the file."
        )
    try:
        _load_object(part.layer, group)
    except (ValueError, AttributeError) as error:
        raise ValueError(f"the weights of the layer {part.name!r} ({part.kind}): {error}") from None


def _load_object(layer, group):
    """Load the layers inside a layer; groups are named after the attributes that hold them."""
    for name, child in group.items():
        if name == "vars":
            if len(child):
                layer.load_own_variables(child)
        elif _count(child):
            attribute = getattr(layer, "layers" if name == _OLD_LAYERS else name.removeprefix("_"))
            if isinstance(attribute, (list, tuple)):
                for each, own in _by_class(attribute, lambda each: type(each).__name__, child):
                    _load_object(each, own)
            else:
                _load_object(attribute, child)


def _count(group):
    return sum(1 if isinstance(each, h5py.Dataset) else _count(each) for each in group.values())
