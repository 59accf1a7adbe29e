"""Traces a layer of layers on symbolic tensors."""

import contextlib
import dataclasses
import inspect
import traceback

import keras

from keras_sparse import _keras
from keras_sparse.surgery.messages import short
from keras_sparse.surgery.stand_ins import known_parameters, stood_in
from keras_sparse.variables import layers_of_type


class CannotOpenError(Exception):
    """A layer of layers cannot be opened; the message is the reason, for the report."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """The calls inside a layer of layers.

    Args:
        sources: flat list of the `keras.KerasTensor`s that the layer is called on, and of their
            masks, each once.
        inputs: list of `keras.KerasTensor`: the placeholders of the sources.
        outputs: flat list of `keras.KerasTensor`.
        nodes: Keras' nodes between inputs and outputs, in topological order.
        form: the calls and their arguments, without `training`.
    """

    sources: list
    inputs: list
    outputs: list
    nodes: list
    form: tuple


def tensors_of(structure):
    """The symbolic tensors in a structure and their masks, each once."""
    flat = keras.tree.flatten(structure)
    tensors = [leaf for leaf in flat if isinstance(leaf, keras.KerasTensor)]
    masks = [_keras.mask_of(tensor) for tensor in tensors]
    tensors += [mask for mask in masks if mask is not None]
    return list({id(tensor): tensor for tensor in tensors}.values())


def hand_on_masks(tensors, values):
    """Sets the masks of placeholders, if their tensors have masks."""
    for tensor in tensors:
        if _keras.mask_of(tensor) is not None:
            _keras.set_mask(values[id(tensor)], values[id(_keras.mask_of(tensor))])


def filled(structure, values):
    """Replaces each symbolic tensor in a structure by `values[id(tensor)]`."""

    def swap(leaf):
        return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    return keras.tree.map_structure(swap, structure)


def trace(layer, args, kwargs, shapes=None, around=contextlib.nullcontext):
    """The calls that a layer makes when it is called on symbolic tensors.

    Args:
        layer: a layer of layers.
        args, kwargs: its arguments.
        shapes: shapes for the tensors among the arguments, in the order of `tensors_of`; None for
            their own shapes.
        around: function that maps the input tensors of `call` to a context manager for the call.

    Returns:
        An `Opened`.

    Raises:
        CannotOpenError: `call` raises an error, or a graph cannot represent it.
    """
    tensors = tensors_of((args, kwargs))
    shapes = [tensor.shape for tensor in tensors] if shapes is None else shapes
    inputs = [
        keras.Input(batch_shape=shape, dtype=tensor.dtype)
        for tensor, shape in zip(tensors, shapes, strict=True)
    ]
    values = {id(tensor): new for tensor, new in zip(tensors, inputs, strict=True)}
    hand_on_masks(tensors, values)
    args, kwargs = filled((args, kwargs), values)
    with unrecorded(layer):
        with stood_in(layer, inputs[0]) as symbolic, around(inputs), _keras.symbolic_like_arrays():
            outputs = _call(layer, args, kwargs, symbolic)
        nodes = nodes_between(map(id, inputs), outputs)
    if any(node.is_input for node in nodes):
        raise CannotOpenError("its `call` reads tensors that it is not called on")
    form = _form(inputs, nodes, outputs)
    for node in nodes:
        _infer_sizes(node)
    return Opened(tensors, inputs, outputs, nodes, form)


def _call(layer, args, kwargs, symbolic):
    """The outputs of a layer as a flat list of symbolic tensors."""
    try:
        outputs = [symbolic(leaf) for leaf in keras.tree.flatten(layer.call(*args, **kwargs))]
    except Exception as error:
        raise CannotOpenError(f"its `call` stops at {_line(error, layer)}") from error
    if not outputs or not all(isinstance(output, keras.KerasTensor) for output in outputs):
        raise CannotOpenError("its `call` returns something that is no tensor")
    return outputs


def _infer_sizes(node):
    """Lets a reshape of the trace infer the sizes that it read from an open shape."""
    operation = node.operation
    shape = getattr(operation, "newshape", None)
    if not isinstance(shape, (tuple, list)) or None not in shape:
        return
    known = node.outputs[0].shape
    shape = [to if size == -1 else size for size, to in zip(shape, known, strict=True)]
    if shape.count(None) == 1:
        operation.newshape = tuple(-1 if size is None else size for size in shape)
    elif shape.count(None) == 2 and shape[0] is None:
        # `Reshape` infers a second size if the first is the batch size. Whether it is, the later
        # comparison of outputs shows.
        rest = tuple(-1 if size is None else size for size in shape[1:])
        node.operation = keras.layers.Reshape(rest, name=operation.name)


def _line(error, layer):
    """The line of the layer's own file that raised an error, and the error."""
    code = getattr(inspect.unwrap(type(layer).call), "__code__", None)
    file = code and code.co_filename
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f"{frames[-1].line!r}" if frames and frames[-1].line else "a line of another file"
    return f"{where} ({short(error)})"


def innermost_of(error):
    """The original cause of an error."""
    while (error.__cause__ or error.__context__) is not None:
        error = error.__cause__ or error.__context__
    return error


def nodes_between(known, outputs):
    """The nodes that compute the outputs from known tensors, in topological order.

    Args:
        known: the `id`s of the known tensors.
        outputs: list of `keras.KerasTensor`.
    """
    known, seen = set(known), set()
    nodes = []
    waiting = [(tensor, False) for tensor in reversed(outputs)]
    while waiting:
        tensor, ready = waiting.pop()
        node = _keras.node_of(tensor)
        if ready:
            nodes.append(node)
        elif id(tensor) not in known and id(node) not in seen:
            seen.add(id(node))
            waiting.append((tensor, True))
            waiting += [(source, False) for source in reversed(node.input_tensors)]
    return nodes


@contextlib.contextmanager
def unrecorded(layer):
    """Removes the calls in the block from the records of a layer and its sublayers.

    So the user's model does not change, even if a trace fails or makes calls that no output needs.
    """
    parts = layers_of_type(layer, keras.Layer)
    parts = [*parts, *(p for part in parts for p in known_parameters(part))]
    records = [_keras.inbound_nodes(part) for part in parts]
    records += [_keras.outbound_nodes(part) for part in parts]
    sizes = [len(entries) for entries in records]
    try:
        yield
    finally:
        for entries, size in zip(records, sizes, strict=True):
            del entries[size:]


def _form(inputs, nodes, outputs):
    places = {id(tensor): str(i) for i, tensor in enumerate(inputs)}
    calls = []
    for node in nodes:
        who = _identity(node.operation)
        given = node.arguments.kwargs.items()
        kwargs = {k: v for k, v in given if k != "training" and v is not None}
        places |= {id(t): f"{len(calls)}.{i}" for i, t in enumerate(node.outputs)}
        calls.append((who, repr(filled((tuple(node.arguments.args), kwargs), places))))
    return tuple(calls), tuple(places[id(tensor)] for tensor in outputs)


def _identity(operation):
    """The `id` of a layer with weights; else the class of the operation, and its attributes."""
    if getattr(operation, "weights", None):
        return id(operation)
    name = type(operation).__name__
    if isinstance(operation, keras.Layer):
        return name
    own = {k: v for k, v in vars(operation).items() if not k.startswith("_") and k != "name"}
    return name, repr(own)
