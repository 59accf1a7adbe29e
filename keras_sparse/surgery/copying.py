"""Copies of layers without a config. Like `graph`, this reads Keras' private attributes."""

import copy
import itertools
import sys
import types
from collections import Counter

import keras

from keras_sparse import _keras
from keras_sparse.surgery.messages import short
from keras_sparse.variables import layers_of_type

# Attributes that a copy must not share: wrapped methods, calls, and the losses of the last call.
_OWN = frozenset({"build", "quantize"})
_FRESH = {"_inbound_nodes": list, "_outbound_nodes": list, "_losses": list, "_loss_ids": set}


def twin(operation, name):
    """A layer or operation with another name and the attributes of the original.

    Variables, tables and functions are the same objects. Only the calls are not shared, so that
    the original's graph does not change.

    Args:
        operation: a layer or operation.
        name: string, the twin's name.
    """
    new = _bare(operation)
    vars(new).update(_state(operation, name))
    return new


def deep_copy(layer, name):
    """A copy of a layer with its own variables and copies of its attributes.

    Args:
        layer: a built layer.
        name: string, the copy's name.

    Raises:
        ValueError: an attribute cannot be copied.
    """
    parts = _parts(layer)
    memo = {id(module): module for module in sys.modules.values()}
    memo.update({id(part): _bare(part) for part in parts})
    try:
        for part in parts:
            _check_functions(part)
            memo[id(part._tracker)] = _copied_tracker(part._tracker, memo)
        for part in parts:
            state = _state(part, name if part is layer else part.name, part is layer)
            vars(memo[id(part)]).update(copy.deepcopy(state, memo))
    except Exception as error:
        raise ValueError(short(error, 300)) from error
    new = memo[id(layer)]
    if {id(v) for v in new.variables} & {id(v) for v in layer.variables}:
        raise ValueError("its variables cannot be copied")
    for part in _parts(new):
        if isinstance(part, keras.Function):
            # Keras identifies the nodes of a graph by the `id` of their layers.
            nodes = itertools.chain.from_iterable(part._nodes_by_depth.values())
            part._nodes = {
                f"{id(node.operation)}_ib-{node.operation._inbound_nodes.index(node)}"
                for node in nodes
            }
    for part in [*_parts(new), *new.variables]:
        # Otherwise, several paths could be equal in nested models.
        if layer.path and part.path and f"{part.path}/".startswith(f"{layer.path}/"):
            part._path = name + part.path[len(layer.path) :]
    return new


def part_paths(model, given):
    """Puts the name of the layer before paths that several weights of a model have.

    A layer that is built before the layer around it has a path without the outer name.

    Args:
        model: a `keras.Model` made of copies; its paths change.
        given: the model that it was copied from. Weights that both share keep their paths.
    """
    kept = {id(weight) for weight in given.weights}
    counts = Counter(weight.path for weight in model.weights)
    for layer in model.layers:
        for weight in layer.weights:
            inside = weight.path.startswith(f"{layer.name}/")
            if counts[weight.path] > 1 and not inside and id(weight) not in kept:
                weight._path = f"{layer.name}/{weight.path}"


def _parts(layer):
    """A layer, all layers in it, and the functional models inside sequential ones."""
    layers = _keras.flatten_layers(layer)
    graphs = [getattr(part, "_functional", None) for part in layers]
    return list({id(part): part for part in [*layers, *graphs] if part is not None}.values())


def moving(layer):
    """The state of a layer besides its weights: random seeds and recurrent states."""
    weights = {id(weight) for weight in layer.weights}
    found = [variable for variable in layer.variables if id(variable) not in weights]
    for recurrent in layers_of_type(layer, keras.layers.RNN):
        found += [state for state in keras.tree.flatten(recurrent.states) if state is not None]
    return found


def _bare(operation):
    """A new object of the same class, made without running `__init__`."""
    base = keras.Layer if isinstance(operation, keras.Layer) else keras.Operation
    return base.__new__(type(operation))


def _state(operation, name, fresh=True):
    state = {key: value for key, value in vars(operation).items() if key not in _OWN}
    for key, empty in _FRESH.items() if fresh else ():
        if key in state:
            state[key] = empty()
    return {**state, "name": name}


def _copied_tracker(tracker, memo):
    """A copy of Keras' tracker of variables and layers, which tracks their copies."""
    new = copy.copy(tracker)
    new.config = {
        name: (test, copy.deepcopy(store, memo)) for name, (test, store) in tracker.config.items()
    }
    new.stored_ids = {
        name: {id(value) for value in store} for name, (_, store) in new.config.items()
    }
    return new


def _check_functions(layer):
    """Refuses attributes that are closures: they may hold the original's variables."""
    for key, value in vars(layer).items():
        if key not in _OWN and isinstance(value, types.FunctionType) and value.__closure__:
            raise ValueError(f"its attribute {key!r} is a function made within another")
