"""Opening layers of layers: the calls that their `call` makes, checked to compute the same."""

import dataclasses
import inspect
import weakref

import keras
import numpy as np

from keras_sparse.surgery.open_sizes import trace_numbers, trace_open_sizes
from keras_sparse.surgery.stand_ins import own_weights
from keras_sparse.surgery.tracing import (
    CannotOpenError,
    filled,
    hand_on_masks,
    short,
    tensors_of,
    trace,
)
from keras_sparse.variables import layers_of_type, restored

# Sizes that are tried for open axes in the comparison of a layer with its calls; where there are
# several tensors, first different ones for each.
_SIZES = (4, 16, 64)
_APART = 5
_BATCH = 2
# The same operations in the same order: what differs is rounding of fused ones.
_ALLOWED = 1e-5
# How far the weights are moved for the comparison: no trace may have taken their values.
_MOVED = 0.125
# How each layer was opened for these tensors: several graphs are made of one model.
_WAYS = weakref.WeakKeyDictionary()
# How a layer of a class was opened last.
_LAST_WAY = weakref.WeakKeyDictionary()


def can_be_opened(operation):
    """Whether an operation is a layer, not of Keras itself, that holds layers or no variables."""
    return (
        isinstance(operation, keras.Layer)
        and not type(operation).__module__.startswith("keras.")
        and not isinstance(operation, keras.layers.Wrapper)
        and (len(layers_of_type(operation, keras.Layer)) > 1 or not operation.variables)
    )


def open_layer(layer, args, kwargs, as_at_inference=False):
    """The calls that a layer of layers makes, found by calling it on symbolic tensors.

    They compute what the layer computes, which is checked on random inputs, with other weights than
    the layer has; in training too, because `call` must make the same calls with and without
    `training`. The layer's own weights are `stand_ins.Parameter`s among the calls.

    Args:
        layer: a built `keras.Layer` for which `can_be_opened` holds.
        args, kwargs: its arguments in the model, with a `keras.KerasTensor` for each tensor. Masks
            that these carry are read as well.
        as_at_inference: whether a `call` that differs in training is opened as at inference.

    Returns:
        An `Opened`.

    Raises:
        CannotOpenError: the layer has to stay closed.
    """
    _check_state(layer, args, kwargs)
    tensors = tensors_of((args, kwargs))
    known = _WAYS.setdefault(layer, {})
    called_on = repr([(tensor.shape, tensor.dtype) for tensor in tensors]) + str(as_at_inference)
    if called_on in known:
        way = known[called_on]
        if isinstance(way, CannotOpenError):
            raise way
        return _traced(way, layer, args, kwargs, as_at_inference)
    # Layers of one class are mostly opened alike.
    last = _LAST_WAY.get(type(layer))
    failure = None
    for way in sorted(_ways(tensors), key=lambda way: way != last):
        try:
            opened = _traced(way, layer, args, kwargs, as_at_inference)
            _check_training(way, layer, args, kwargs, opened, as_at_inference)
            _check_equal(layer, args, kwargs, opened)
        except CannotOpenError as error:
            failure = failure or error
            continue
        known[called_on] = _LAST_WAY[type(layer)] = way
        return opened
    known[called_on] = failure
    raise failure


@dataclasses.dataclass(frozen=True)
class _Way:
    """How to trace a layer.

    Args:
        numbers: whether numbers take the place of open sizes.
        apart: whether these differ from tensor to tensor.
    """

    numbers: bool
    apart: bool = False

    def calls(self, layer, args, kwargs):
        """The calls, for all sizes."""
        if not self.numbers:
            return trace(layer, args, kwargs)
        return trace_open_sizes(layer, args, kwargs, self.apart)

    def form(self, layer, args, kwargs):
        """What is called on what."""
        if not self.numbers:
            return trace(layer, args, kwargs).form
        return trace_numbers(layer, args, kwargs, self.apart).form


def _ways(tensors):
    """How to trace: as the tensors are, and with numbers in the place of open sizes."""
    ways = [_Way(numbers=False)]
    if sum(None in tensor.shape[1:] for tensor in tensors) > 1:
        ways.append(_Way(numbers=True, apart=True))
    if any(None in tensor.shape for tensor in tensors):
        ways.append(_Way(numbers=True))
    return ways


def _traced(way, layer, args, kwargs, as_at_inference):
    if "training" in inspect.signature(layer.call).parameters:
        given = False if as_at_inference else kwargs.get("training")
        kwargs = {**kwargs, "training": given}
    return way.calls(layer, args, kwargs)


def _check_training(way, layer, args, kwargs, opened, as_at_inference):
    """Compares the calls with those in training; the other comparison is one at inference."""
    by_training = "training" in inspect.signature(layer.call).parameters
    if not by_training or as_at_inference or kwargs.get("training") is not None:
        return
    if way.form(layer, args, {**kwargs, "training": True}) != opened.form:
        raise CannotOpenError("its `call` does something else in training")


def _check_state(layer, args, kwargs):
    """Refuses what tracing does not show: the layer's own state, losses, casts of its inputs."""
    if own_weights(layer) is None:
        inner = [part for part in layers_of_type(layer, keras.Layer) if part is not layer]
        known = {id(variable) for part in inner for variable in part.variables}
        own = [variable.name for variable in layer.variables if id(variable) not in known]
        raise CannotOpenError(f"it has its own variables ({', '.join(own[:3])})")
    if layer.activity_regularizer is not None:
        raise CannotOpenError("it has an activity regularizer")
    tensors = tensors_of((args, kwargs))
    if not tensors:
        raise CannotOpenError("it is called on no tensor")
    compute = layer.compute_dtype
    floats = {str(tensor.dtype) for tensor in tensors if "float" in str(tensor.dtype)}
    if floats - {compute}:
        raise CannotOpenError(f"it casts its inputs to {compute}")


def _check_equal(layer, args, kwargs, opened):
    """Compares the layer with its calls, on random inputs and with changed weights."""
    if "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": False}
    weights = [weight for weight in layer.weights if "float" in str(weight.dtype)]
    with restored(weights):
        for weight in weights:
            weight.assign(weight + keras.ops.cast(_MOVED, weight.dtype))
        _compare(layer, args, kwargs, opened)


def _compare(layer, args, kwargs, opened):
    tensors = tensors_of((args, kwargs))
    opens = sum(None in tensor.shape[1:] for tensor in tensors)
    plans = [(size, 0) for size in _SIZES]
    failure = None
    for size, apart in [(_SIZES[0], _APART), *plans] if opens > 1 else plans:
        rng = np.random.default_rng(0)
        arrays = [_random(tensor, size + apart * i, rng) for i, tensor in enumerate(tensors)]
        values = {id(tensor): array for tensor, array in zip(tensors, arrays, strict=True)}
        try:
            hand_on_masks(tensors, values)
            wanted = _run(
                lambda values=values: layer.call(*filled(args, values), **filled(kwargs, values))
            )
        except Exception as error:
            failure = failure or error
            continue
        try:
            got = _run(lambda arrays=arrays: _interpreted(opened, arrays))
        except Exception as error:
            raise CannotOpenError(f"its calls do not run one by one ({short(error)})") from error
        if not all(map(_near, got, wanted)):
            raise CannotOpenError("its calls, one by one, compute something else")
        return
    raise CannotOpenError(f"it takes no random inputs ({short(failure)})")


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
        args, kwargs = filled((tuple(node.arguments.args), node.arguments.kwargs), values)
        if "training" in kwargs:
            kwargs = {**kwargs, "training": False}
        results = keras.tree.flatten(node.operation(*args, **kwargs))
        values |= {id(t): result for t, result in zip(node.outputs, results, strict=True)}
    return [values[id(tensor)] for tensor in opened.outputs]


def _near(array, other):
    if array.dtype.kind in "biu":  # masks and indices
        return np.array_equal(array, other)
    scale = max(np.abs(other).max(initial=0.0), 1e-30)
    return array.shape == other.shape and np.abs(array - other).max(initial=0.0) <= _ALLOWED * scale
