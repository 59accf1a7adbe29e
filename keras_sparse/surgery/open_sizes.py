"""Traces layers that compute with open sizes in `call`, such as `ops.shape(x)[0]`.

Keras has no symbolic sizes: an open size is None. So the layer is traced twice, with two numbers
for each open size. Differences between the traces depend on the sizes. The calls are then made
again on tensors with open sizes, with a replacement for each difference: -1 in a reshape, adding
zeros for a broadcast, a running count for `ops.arange`.
"""

import functools

import keras
import numpy as np

from keras_sparse import _keras
from keras_sparse.surgery.counting import Ranges, count_along, zeros_along
from keras_sparse.surgery.messages import short
from keras_sparse.surgery.open_axes import place_of
from keras_sparse.surgery.tracing import (
    CannotOpenError,
    Opened,
    hand_on_masks,
    nodes_between,
    tensors_of,
    trace,
    unrecorded,
)


def trace_open_sizes(layer, args, kwargs, lengths):
    """Traces a layer that reads open sizes in `call`; returns the same as `trace`.

    Args:
        layer: a layer of layers.
        args, kwargs: its arguments.
        lengths: `Lengths` of their open axes.

    Raises:
        CannotOpenError: no layer or operation of Keras does the same for all sizes.
    """
    tensors = tensors_of((args, kwargs))
    ranges, traces = _traces(layer, args, kwargs, lengths)
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in tensors]
    hand_on_masks(tensors, {id(t): new for t, new in zip(tensors, inputs, strict=True)})
    with unrecorded(layer), _keras.outputs_as_called():
        return _Replay(*traces, inputs, ranges.pairs).opened()


def form_of_numbers(layer, args, kwargs, lengths):
    """The `form` of a layer's calls, traced with numbers for open sizes."""
    return _traces(layer, args, kwargs, lengths)[1][0].form


def _traces(layer, args, kwargs, lengths):
    """The `Ranges` and two traces of a layer, one for each number of an open size."""
    tensors = tensors_of((args, kwargs))
    ranges = Ranges(lengths.pairs(tensors))
    while True:
        traces = []
        for which in range(2):
            shapes = [tuple(pair[which] for pair in row) for row in ranges.pairs]
            traces.append(trace(layer, args, kwargs, shapes, ranges.traced(which)))
        further = ranges.next()
        if further is None:
            return ranges, traces
        ranges = further


class _Replay:
    """Makes the calls of two traces again, on tensors with open sizes.

    Args:
        first, second: `Opened`, of one layer.
        inputs: list of `keras.KerasTensor` with open sizes.
        pairs: for each input, the two numbers of each of its axes.
    """

    def __init__(self, first, second, inputs, pairs):
        if len(first.nodes) != len(second.nodes):
            raise CannotOpenError("its `call` makes other calls for other sizes")
        self._traces = first, second
        self._inputs = inputs
        self._pairs = pairs
        self._values = {id(t): new for t, new in zip(first.inputs, inputs, strict=True)}
        self._ids = {id(u): id(t) for t, u in zip(first.inputs, second.inputs, strict=True)}
        self._nodes = []

    def opened(self):
        """The calls with open sizes, as an `Opened`."""
        first, second = self._traces
        for nodes in zip(first.nodes, second.nodes, strict=True):
            self._make(*nodes)
        outputs = [self._values[id(tensor)] for tensor in first.outputs]
        known = {id(tensor) for tensor in self._inputs}
        nodes = nodes_between(known, outputs)
        return Opened(first.sources, self._inputs, outputs, nodes, first.form)

    def _make(self, node, other):
        """Makes one call again."""
        if type(node.operation) is not type(other.operation):
            raise CannotOpenError("its `call` makes other calls for other sizes")
        pairs = list(zip(node.outputs, other.outputs, strict=True))
        shapes = [_open_shape(*pair) for pair in pairs]
        args, kwargs = self._arguments(node, other)
        differing = _differing(node.operation, other.operation)
        if differing:
            make = _AGAIN.get((type(node.operation).__name__, *differing))
            if make is None:
                raise CannotOpenError(_depends(node.operation))
            make = functools.partial(make, self, node, other, args)
        else:
            make = functools.partial(node.operation, *args, **kwargs)
        results = keras.tree.flatten(_tried(make, node.operation))
        if len(results) != len(pairs):
            raise CannotOpenError(_depends(node.operation))
        for (tensor, second), shape, result in zip(pairs, shapes, results, strict=True):
            sizes = list(zip(tensor.shape, second.shape, strict=True))
            self._values[id(tensor)] = self._repeated(result, shape, sizes, node.operation)
            self._ids[id(second)] = id(tensor)

    def _arguments(self, node, other):
        """The arguments of a call, with tensors of open sizes."""
        pairs = (node, other), (other, node)
        both = [(_without_ends(n, m), n.arguments.kwargs) for n, m in pairs]
        flat = [keras.tree.flatten(arguments) for arguments in both]
        if len(flat[0]) != len(flat[1]):
            raise CannotOpenError(_depends(node.operation))
        leaves = [self._leaf(node, *leaves) for leaves in zip(*flat, strict=True)]
        return keras.tree.pack_sequence_as(both[0], leaves)

    def _leaf(self, node, leaf, other):
        if isinstance(leaf, keras.KerasTensor):
            if self._ids.get(id(other)) != id(leaf):
                raise CannotOpenError("its `call` makes other calls for other sizes")
            return self._values[id(leaf)]
        if hasattr(leaf, "shape") and hasattr(other, "shape"):
            return _common_array(node.operation, leaf, other)
        if leaf is other or leaf == other:
            return leaf
        raise CannotOpenError(_depends(node.operation))

    def _repeated(self, result, shape, sizes, operation):
        """Repeats a result to its full shape, if `_common_array` shortened an argument."""
        if tuple(result.shape) == shape:
            return result
        if len(result.shape) != len(shape):
            raise CannotOpenError(_depends(operation))
        if any(own not in (1, size) for own, size in zip(result.shape, shape, strict=True)):
            raise CannotOpenError(_depends(operation))
        return self.widened(result, shape, sizes)

    def widened(self, tensor, shape, pairs):
        """Repeats a tensor along its axes of length one, up to a shape with open sizes.

        Args:
            tensor: symbolic tensor.
            shape: the shape to reach.
            pairs: the two numbers of each axis of that shape.
        """
        missing = len(shape) - len(tensor.shape)
        own = (1,) * missing + tuple(tensor.shape)
        fixed = [to if size == 1 and to else 1 for size, to in zip(own, shape, strict=True)]
        zeros = keras.ops.zeros(fixed, "int32") if set(fixed) != {1} else None
        for axis, (size, to) in enumerate(zip(own, shape, strict=True)):
            if to is None and size == 1:
                place = place_of(self._pairs, pairs[axis])
                if place is None:
                    raise CannotOpenError("its `call` repeats along a size that it computes")
                row = zeros_along(self._inputs[place[0]], place[1])
                others = [other for other in range(len(shape)) if other != axis]
                row = keras.ops.expand_dims(row, others) if others else row
                zeros = row if zeros is None else row + zeros
        if zeros is None:
            return tensor
        if tensor.dtype == "bool":
            return keras.ops.logical_or(tensor, keras.ops.cast(zeros, "bool"))
        return tensor + keras.ops.cast(zeros, tensor.dtype)


def _without_ends(node, other):
    """The arguments, with `x[:, :]` for `x[:, :size]` on an axis of length `size`."""
    args = tuple(node.arguments.args)
    if type(node.operation).__name__ != "GetItem" or not isinstance(args[1], tuple):
        return args
    source, key = args
    second, others = other.arguments.args
    places = [i for i, part in enumerate(key) if part is not None and part is not Ellipsis]
    behind = key.index(Ellipsis) if Ellipsis in key else len(key)
    new = list(key)
    for count, i in enumerate(places):
        axis = count if i < behind else count - len(places)
        stops = [getattr(part, "stop", None) for part in (key[i], others[i])]
        if stops[0] != stops[1] and stops == [source.shape[axis], second.shape[axis]]:
            new[i] = slice(key[i].start, None, key[i].step)
    return source, tuple(new)


def _tried(make, operation):
    try:
        return make()
    except CannotOpenError:
        raise
    except Exception as error:
        raise CannotOpenError(f"{_depends(operation)} ({short(error)})") from error


def _depends(operation):
    return f"its `call` has a {type(operation).__name__} that depends on an open size"


def _open_shape(tensor, other):
    """A tensor's shape, with None where two traces differ."""
    if len(tensor.shape) != len(other.shape):
        raise CannotOpenError("its `call` makes other calls for other sizes")
    return tuple(
        size if size == second else None
        for size, second in zip(tensor.shape, other.shape, strict=True)
    )


def _differing(operation, other):
    """Names of the attributes in which two operations differ, sorted."""
    if operation is other:
        return ()
    one, two = vars(operation), vars(other)
    plain = [key for key in one if not key.startswith("_") and key != "name"]
    return tuple(sorted(k for k in plain if not _alike(one[k], two.get(k))))


def _alike(one, two):
    if hasattr(one, "shape"):
        return np.array_equal(one, two)
    return one is two or one == two


def _common_array(operation, array, other):
    """The array of two traces; shortened to length one along axes of different lengths.

    It must be constant along these axes.
    """
    if isinstance(array, keras.Variable):
        if array is other:
            return array
        raise CannotOpenError(_depends(operation))
    one, two = (keras.ops.convert_to_numpy(x) for x in (array, other))
    if one.ndim == two.ndim:
        for axis, sizes in enumerate(zip(one.shape, two.shape, strict=True)):
            if sizes[0] != sizes[1]:
                first = [np.take(x, [0], axis) for x in (one, two)]
                if any((x != part).any() for x, part in zip((one, two), first, strict=True)):
                    raise CannotOpenError("its `call` computes numbers from an open size")
                one, two = first
    if not np.array_equal(one, two):
        raise CannotOpenError("its `call` computes numbers from an open size")
    return array if one.shape == tuple(array.shape) else one


def _reshape(replay, node, other, args):
    """Infers one open size; or two, if the first is the batch size before and after."""
    shape = list(_open_shape(node.outputs[0], other.outputs[0]))
    operation = node.operation
    if shape.count(None) == 1:
        return keras.ops.reshape(args[0], [-1 if size is None else size for size in shape])
    if shape.count(None) == 2 and shape[0] is None:
        rest = tuple(-1 if size is None else size for size in shape[1:])
        return keras.layers.Reshape(rest, name=operation.name)(args[0])
    if shape == list(args[0].shape):
        return args[0]
    raise CannotOpenError(_depends(operation))


def _broadcast(replay, node, other, args):
    """Adds zeros of the open sizes."""
    shape = _open_shape(node.outputs[0], other.outputs[0])
    return replay.widened(args[0], shape, _sizes_of(node, other))


def _tile(replay, node, other, args):
    """Adds zeros to repeat along open axes, and tiles the others."""
    shape = _open_shape(node.outputs[0], other.outputs[0])
    repeats = [
        n if n == m else 1
        for n, m in zip(node.operation.repeats, other.operation.repeats, strict=True)
    ]
    tensor = keras.ops.tile(args[0], repeats) if set(repeats) != {1} else args[0]
    return replay.widened(tensor, shape, _sizes_of(node, other))


def _repeat(replay, node, other, args):
    """Repeats one entry as often as an axis is long."""
    axis = node.operation.axis
    if axis is None or args[0].shape[axis] != 1:
        raise CannotOpenError(_depends(node.operation))
    shape = _open_shape(node.outputs[0], other.outputs[0])
    return replay.widened(args[0], shape, _sizes_of(node, other))


def _slice(replay, node, other, args):
    """Takes the first rows of a table, as many as an axis is long, by their indices."""
    tensor, starts = args
    shape = _open_shape(node.outputs[0], other.outputs[0])
    opens = [axis for axis, size in enumerate(shape) if size is None]
    others = [axis for axis in range(len(shape)) if axis not in opens]
    whole = all(tensor.shape[axis] == shape[axis] for axis in others)
    place = place_of(replay._pairs, _sizes_of(node, other)[opens[0]])
    if len(opens) != 1 or not whole or place is None or any(np.ravel(starts)):
        raise CannotOpenError(_depends(node.operation))
    rows = count_along(replay._inputs[place[0]], place[1], "int32")
    return keras.ops.take(tensor, rows, axis=opens[0])


def _sizes_of(node, other):
    return list(zip(node.outputs[0].shape, other.outputs[0].shape, strict=True))


# Replacements: `(operation, *attributes that depend on sizes)`.
_AGAIN = {
    ("Reshape", "newshape"): _reshape,
    ("BroadcastTo", "shape"): _broadcast,
    ("Tile", "repeats"): _tile,
    ("Repeat", "repeats"): _repeat,
    ("Slice", "shape"): _slice,
}
