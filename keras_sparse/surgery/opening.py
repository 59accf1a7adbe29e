"""Layers of layers, opened: the calls that their `call` makes. Reads Keras' private attributes."""

import contextlib
import dataclasses
import inspect
import traceback
import weakref

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.variables import layers_of_type

# Sizes that are tried for open axes in the comparison of a layer with its calls.
_SIZES = (4, 16, 64)
_BATCH = 2
# The same operations in the same order: what differs is rounding of fused ones.
_ALLOWED = 1e-5
# What was compared: several graphs are made of one model.
_COMPARED = weakref.WeakKeyDictionary()


class CannotOpenError(Exception):
    """A layer of layers that stays closed; the message is the reason, for the report."""


@dataclasses.dataclass(frozen=True)
class Opened:
    """The calls inside a layer of layers.

    Args:
        sources: flat list of the `keras.KerasTensor`s that the layer is called on, and of their
            masks, each once.
        inputs: list of `keras.KerasTensor` that stand for them.
        outputs: flat list of `keras.KerasTensor`.
        nodes: Keras' nodes between them, in topological order.
    """

    sources: list
    inputs: list
    outputs: list
    nodes: list


def is_composite(operation):
    """Whether an operation is a layer, not of Keras itself, that holds other layers."""
    return (
        isinstance(operation, keras.Layer)
        and not type(operation).__module__.startswith("keras.")
        and not isinstance(operation, keras.layers.Wrapper)
        and len(layers_of_type(operation, keras.Layer)) > 1
    )


def open_layer(layer, args, kwargs):
    """The calls that a layer of layers makes, found by calling it on symbolic tensors.

    They compute what the layer computes: both are compared on random inputs. And they do so in
    training, for `call` makes the same calls with and without `training`.

    Args:
        layer: a built `keras.Layer` for which `is_composite` holds.
        args, kwargs: its arguments in the model, with a `keras.KerasTensor` for each tensor. Masks
            that these carry are read as well.

    Returns:
        An `Opened`.

    Raises:
        CannotOpenError: the layer has to stay closed.
    """
    _check_state(layer, args, kwargs)
    by_training = "training" in inspect.signature(layer.call).parameters
    given = kwargs.get("training") if by_training else None
    kwargs = {key: value for key, value in kwargs.items() if key != "training"}

    def trace(training):
        return _trace(layer, args, {**kwargs, "training": training} if by_training else kwargs)

    opened = trace(given)
    if by_training and given is None:
        forms = {_form(trace(training)) for training in (False, True)}
        if forms != {_form(opened)}:
            raise CannotOpenError("its `call` does something else in training")
    compared = _COMPARED.setdefault(layer, set())
    called_on = repr([(tensor.shape, tensor.dtype) for tensor in opened.inputs])
    if called_on not in compared:
        quiet = {"training": False} if by_training else {}
        _check_equal(layer, args, {**kwargs, **quiet}, opened)
        compared.add(called_on)
    return opened


def _check_state(layer, args, kwargs):
    """What tracing cannot see: state of the layer's own, losses, casts of its inputs."""
    inner = [part for part in layers_of_type(layer, keras.Layer) if part is not layer]
    known = {id(variable) for part in inner for variable in part.variables}
    own = [variable.name for variable in layer.variables if id(variable) not in known]
    if own:
        raise CannotOpenError(f"it has variables of its own ({', '.join(own[:3])})")
    if layer.activity_regularizer is not None:
        raise CannotOpenError("it has an activity regularizer")
    tensors = _tensors((args, kwargs))
    compute = layer.compute_dtype
    floats = {str(tensor.dtype) for tensor in tensors if "float" in str(tensor.dtype)}
    if floats - {compute}:
        raise CannotOpenError(f"it casts its inputs to {compute}")


def _tensors(structure):
    """The symbolic tensors in a structure and their masks, each once."""
    flat = keras.tree.flatten(structure)
    tensors = [leaf for leaf in flat if isinstance(leaf, keras.KerasTensor)]
    masks = [_keras.mask_of(tensor) for tensor in tensors]
    tensors += [mask for mask in masks if mask is not None]
    return list({id(tensor): tensor for tensor in tensors}.values())


def _hand_on_masks(tensors, values):
    """Gives what stands for a tensor with a mask what stands for the mask."""
    for tensor in tensors:
        if _keras.mask_of(tensor) is not None:
            _keras.set_mask(values[id(tensor)], values[id(_keras.mask_of(tensor))])


def _filled(structure, values):
    """A structure with `values[id(tensor)]` in the place of each symbolic tensor."""

    def swap(leaf):
        return values[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    return keras.tree.map_structure(swap, structure)


def _trace(layer, args, kwargs):
    tensors = _tensors((args, kwargs))
    inputs = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in tensors]
    values = {id(tensor): new for tensor, new in zip(tensors, inputs, strict=True)}
    _hand_on_masks(tensors, values)
    args, kwargs = _filled((args, kwargs), values)
    with unrecorded(layer):
        outputs = _call(layer, args, kwargs)
        nodes = nodes_between(map(id, inputs), outputs)
    if any(node.is_input for node in nodes):
        raise CannotOpenError("its `call` reads tensors that it is not called on")
    for node in nodes:
        _infer_sizes(node)
    return Opened(tensors, inputs, outputs, nodes)


def _call(layer, args, kwargs):
    """The outputs of a layer as a flat list of symbolic tensors."""
    try:
        outputs = keras.tree.flatten(layer.call(*args, **kwargs))
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
        # Two sizes are inferred where one is the batch's; the comparison shows whether it is.
        rest = tuple(-1 if size is None else size for size in shape[1:])
        node.operation = keras.layers.Reshape(rest, name=operation.name)


def _line(error, layer):
    """Where in the layer's own file an error came from, and the error."""
    code = getattr(inspect.unwrap(type(layer).call), "__code__", None)
    file = code and code.co_filename
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    where = f"{frames[-1].line!r}" if frames and frames[-1].line else "a line of another file"
    return f"{where} ({_short(error)})"


def _short(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:100]


def nodes_between(known, outputs):
    """What is computed from known tensors to the outputs, each node after those that it needs.

    Args:
        known: the `id`s of tensors that are there already.
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
    """Takes the calls in the block out of the records of a layer and its sublayers.

    The user's model stays as it was, also where a trace ends with an error, or has calls that no
    output needs.
    """
    parts = layers_of_type(layer, keras.Layer)
    records = [_keras.inbound_nodes(part) for part in parts]
    records += [_keras.outbound_nodes(part) for part in parts]
    sizes = [len(nodes) for nodes in records]
    try:
        yield
    finally:
        for nodes, size in zip(records, sizes, strict=True):
            del nodes[size:]


def _form(opened):
    """What is called on what, without `training`."""
    places = {id(tensor): str(i) for i, tensor in enumerate(opened.inputs)}
    calls = []
    for node in opened.nodes:
        operation = node.operation
        who = id(operation) if getattr(operation, "weights", None) else type(operation).__name__
        kwargs = {k: v for k, v in node.arguments.kwargs.items() if k != "training"}
        places |= {id(t): f"{len(calls)}.{i}" for i, t in enumerate(node.outputs)}
        calls.append((who, repr(_filled((tuple(node.arguments.args), kwargs), places))))
    return tuple(calls), tuple(places[id(tensor)] for tensor in opened.outputs)


def _check_equal(layer, args, kwargs, opened):
    """Compares the layer with its calls, one by one, on random inputs."""
    failure = None
    for size in _SIZES:
        rng = np.random.default_rng(0)
        tensors = _tensors((args, kwargs))
        arrays = [_random(tensor, size, rng) for tensor in tensors]
        values = {id(tensor): array for tensor, array in zip(tensors, arrays, strict=True)}
        try:
            _hand_on_masks(tensors, values)
            wanted = _run(
                lambda values=values: layer.call(*_filled(args, values), **_filled(kwargs, values))
            )
        except Exception as error:
            failure = failure or error
            continue
        try:
            got = _run(lambda arrays=arrays: _interpreted(opened, arrays))
        except Exception as error:
            raise CannotOpenError(f"its calls do not run one by one ({_short(error)})") from error
        if not all(map(_near, got, wanted)):
            raise CannotOpenError("its calls, one by one, compute something else")
        return
    raise CannotOpenError(f"it takes no random inputs ({_short(failure)})")


def _random(tensor, size, rng):
    batch, *rest = tensor.shape
    shape = (batch or _BATCH, *(size if axis is None else axis for axis in rest))
    drawn = rng.standard_normal(shape) if "float" in tensor.dtype else rng.integers(0, 2, shape)
    return keras.ops.convert_to_tensor(drawn.astype("float32"), tensor.dtype)


def _run(function):
    return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(function())]


def _interpreted(opened, arrays):
    values = {id(t): array for t, array in zip(opened.inputs, arrays, strict=True)}
    for node in opened.nodes:
        args, kwargs = _filled((tuple(node.arguments.args), node.arguments.kwargs), values)
        if "training" in kwargs:
            kwargs = {**kwargs, "training": False}
        results = keras.tree.flatten(node.operation(*args, **kwargs))
        values |= {id(t): result for t, result in zip(node.outputs, results, strict=True)}
    return [values[id(tensor)] for tensor in opened.outputs]


def _near(array, other):
    scale = max(np.abs(other).max(initial=0.0), 1e-30)
    return array.shape == other.shape and np.abs(array - other).max(initial=0.0) <= _ALLOWED * scale
