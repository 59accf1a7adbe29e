"""Opens layers of layers: finds the calls that their `call` makes, and checks their outputs."""

import contextlib
import dataclasses
import inspect
import weakref

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.surgery.messages import short
from keras_sparse.surgery.open_axes import Lengths
from keras_sparse.surgery.open_sizes import form_of_numbers, trace_open_sizes
from keras_sparse.surgery.stand_ins import own_weights
from keras_sparse.surgery.tracing import (
    CannotOpenError,
    filled,
    hand_on_masks,
    innermost_of,
    tensors_of,
    trace,
)
from keras_sparse.variables import layers_of_type, restored

# Sizes to try for open axes when a layer is compared with its calls: `(smallest size, distance
# between different lengths)`.
_SIZES = ((4, 5), (4, 0), (16, 0), (64, 0))
_BATCH = 2
# Both run the same operations in the same order, so only rounding in fused operations differs.
_ALLOWED = 1e-5
# Added to the weights for the comparison, to show whether a trace holds their old values.
_MOVED = 0.125
# Part of Keras' error if a function of the backend gets a symbolic tensor.
_OF_THE_BACKEND = "cannot be used as input to a"
# `{layer: {shapes: how it was opened}}`: several graphs are made of one model.
_WAYS = weakref.WeakKeyDictionary()
# `{class: how its last layer was opened}`.
_LAST_WAY = weakref.WeakKeyDictionary()


def can_be_opened(operation):
    """Whether an operation is a layer outside Keras that has inner layers or no variables."""
    return (
        isinstance(operation, keras.Layer)
        and not type(operation).__module__.startswith("keras.")
        and not isinstance(operation, keras.layers.Wrapper)
        and (len(layers_of_type(operation, keras.Layer)) > 1 or not operation.variables)
    )


def open_layer(layer, args, kwargs, as_at_inference=False):
    """Finds the calls that a layer of layers makes, by calling it on symbolic tensors.

    The calls compute the same as the layer. This is checked on random inputs, with changed weights.
    It holds in training too, because `call` must make the same calls with and without `training`.
    The layer's own weights are `stand_ins.Parameter`s among the calls.

    Args:
        layer: a built `keras.Layer` for which `can_be_opened` holds.
        args, kwargs: its arguments in the model, with a `keras.KerasTensor` for each tensor. Masks
            that these carry are read as well.
        as_at_inference: whether to open the layer as at inference, if `call` differs in training.

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
    ways, failure = _ways(tensors, _LAST_WAY.get(type(layer))), None
    while ways:
        way = ways.pop(0)
        try:
            opened = _traced(way, layer, args, kwargs, as_at_inference)
            _check_training(way, layer, args, kwargs, opened, as_at_inference)
            _check_equal(way, layer, args, kwargs, opened)
        except CannotOpenError as error:
            failure = failure or error
            ways = [*way.others(error), *ways]
            continue
        known[called_on] = _LAST_WAY[type(layer)] = way
        return opened
    known[called_on] = failure
    raise failure


@dataclasses.dataclass(frozen=True)
class _Way:
    """How to trace a layer.

    Args:
        lengths: `Lengths` of the open axes, if they are traced with numbers; else None.
        unsaid: whether to hide the name of the backend from the layer. It then calls functions of
            Keras instead of the backend's own, which take no symbolic tensors.
    """

    lengths: Lengths | None = None
    unsaid: bool = False

    def calls(self, layer, args, kwargs):
        """The calls, for all sizes."""
        with self._around():
            if self.lengths is None:
                return trace(layer, args, kwargs)
            return trace_open_sizes(layer, args, kwargs, self.lengths)

    def form(self, layer, args, kwargs):
        """The `form` of the calls."""
        with self._around():
            if self.lengths is None:
                return trace(layer, args, kwargs).form
            return form_of_numbers(layer, args, kwargs, self.lengths)

    def _around(self):
        return _keras.backend_unsaid() if self.unsaid else contextlib.nullcontext()

    def others(self, error):
        """The ways to try instead of this one, according to its error."""
        innermost = str(innermost_of(error))
        if not self.unsaid and _OF_THE_BACKEND in innermost:
            return [dataclasses.replace(self, unsaid=True)]
        joined = self.lengths and self.lengths.joined(innermost)
        return [dataclasses.replace(self, lengths=joined)] if joined else []


def _ways(tensors, last):
    """The ways to try: with the tensors as they are, and with numbers for open sizes."""
    ways = [_Way()]
    if any(None in tensor.shape for tensor in tensors):
        ways += [_Way(Lengths.apart(tensors)), _Way(Lengths.by_order(tensors))]
    # Layers of one class can mostly be opened in the same way.
    ways = [way for way in (last, *ways) if way is not None]
    fitting = [way for way in ways if way.lengths is None or way.lengths.fit(tensors)]
    return list(dict.fromkeys(fitting))


def _traced(way, layer, args, kwargs, as_at_inference):
    if "training" in inspect.signature(layer.call).parameters:
        given = False if as_at_inference else kwargs.get("training")
        kwargs = {**kwargs, "training": given}
    return way.calls(layer, args, kwargs)


def _check_training(way, layer, args, kwargs, opened, as_at_inference):
    """Compares the calls with those in training; `_check_equal` compares outputs at inference."""
    by_training = "training" in inspect.signature(layer.call).parameters
    if not by_training or as_at_inference or kwargs.get("training") is not None:
        return
    if way.form(layer, args, {**kwargs, "training": True}) != opened.form:
        raise CannotOpenError("its `call` does something else in training")


def _check_state(layer, args, kwargs):
    """Refuses layers with effects that a trace does not show: state, losses, input casts."""
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


def _check_equal(way, layer, args, kwargs, opened):
    """Compares the layer with its calls, on random inputs and with changed weights."""
    if "training" in inspect.signature(layer.call).parameters:
        kwargs = {**kwargs, "training": False}
    weights = [weight for weight in layer.weights if "float" in str(weight.dtype)]
    tensors = tensors_of((args, kwargs))
    lengths = way.lengths or Lengths.apart(tensors)
    with restored(weights):
        for weight in weights:
            weight.assign(weight + keras.ops.cast(_MOVED, weight.dtype))
        failure = None
        for least, step in _SIZES:
            failure = _compare(layer, args, kwargs, opened, lengths.sizes(tensors, least, step))
            if failure is None:
                break
        else:
            raise CannotOpenError(f"it takes no random inputs ({short(failure)})")
        for split in lengths.splits():
            # If the layer takes inputs with these lengths, the calls must give its outputs too.
            _compare(layer, args, kwargs, opened, split.sizes(tensors, *_SIZES[0]))


def _compare(layer, args, kwargs, opened, sizes):
    """Raises an error if the outputs differ; returns the layer's error if it refuses the inputs."""
    tensors, rng = tensors_of((args, kwargs)), np.random.default_rng(0)
    arrays = [_random(tensor, place, sizes, rng) for place, tensor in enumerate(tensors)]
    values = {id(tensor): array for tensor, array in zip(tensors, arrays, strict=True)}
    try:
        hand_on_masks(tensors, values)
        wanted = _run(lambda: layer.call(*filled(args, values), **filled(kwargs, values)))
    except Exception as error:
        return error
    try:
        got = _run(lambda: _interpreted(opened, arrays))
    except Exception as error:
        raise CannotOpenError(f"its calls do not run one by one ({short(error)})") from error
    if not all(map(_near, got, wanted)):
        raise CannotOpenError("its calls, one by one, compute something else")
    return None


def _random(tensor, place, sizes, rng):
    shape = [sizes.get((place, axis), size) for axis, size in enumerate(tensor.shape)]
    shape[:1] = [_BATCH if size is None else size for size in shape[:1]]
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
