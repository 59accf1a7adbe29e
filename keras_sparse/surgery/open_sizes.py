"""Tracing layers whose `call` computes with open sizes, such as `ops.shape(x)[0]`.

Keras has no symbolic sizes: an open one is None. So the layer is traced twice, with two numbers for
each open size. What differs between both traces depends on the sizes. The calls are then made again
on tensors with open sizes, with a replacement for each difference: -1 in a reshape, adding zeros
for a broadcast, a running count for `ops.arange`.
"""

import contextlib
import functools

import keras
import numpy as np

from keras_sparse.surgery.stand_ins import Zeros
from keras_sparse.surgery.tracing import (
    CannotOpenError,
    Opened,
    hand_on_masks,
    nodes_between,
    short,
    tensors_of,
    trace,
    unrecorded,
)

# Two numbers for the batch, and two for each further open size: primes, unlikely as widths. A
# `call` that depends on whether a size is small or large makes different calls for the two.
_BATCH = (13, 29)
_SIZES = ((17, 211), (19, 223), (23, 227), (43, 229), (47, 233), (61, 239), (67, 241), (79, 251))


def trace_open_sizes(layer, args, kwargs, apart):
    """The calls of a layer whose `call` reads open sizes, as `trace` gives them.

    Args:
        layer: a layer of layers.
        args, kwargs: its arguments.
        apart: whether the open sizes of different tensors differ, or are the same.

    Raises:
        CannotOpenError: no layer or operation of Keras does the same for all sizes.
    """
    tensors = tensors_of((args, kwargs))
    traces = [trace_numbers(layer, args, kwargs, apart, which) for which in range(2)]
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype) for t in tensors]
    hand_on_masks(tensors, {id(t): new for t, new in zip(tensors, inputs, strict=True)})
    with unrecorded(layer):
        return _Replay(*traces, inputs, _pairs(tensors, apart)).opened()


def trace_numbers(layer, args, kwargs, apart, which=0):
    """The calls of a layer with one of two numbers for each open size; see `trace_open_sizes`."""
    pairs = _pairs(tensors_of((args, kwargs)), apart)
    shapes = [tuple(pair[which] for pair in row) for row in pairs]
    around = functools.partial(_counted_ranges, which, pairs)
    return trace(layer, args, kwargs, shapes, around)


def _pairs(tensors, apart):
    """For each tensor two numbers for each axis; the same ones where the size is known."""
    rows = []
    for place, tensor in enumerate(tensors):
        own = iter(_SIZES[place % 4 * 2 :] if apart else _SIZES)
        row = [(size, size) if size is not None else next(own) for size in tensor.shape[1:]]
        first = tensor.shape[:1]
        batch = [_BATCH if size is None else (size, size) for size in first]
        rows.append(batch + row)
    return rows


def _place(pairs, sizes):
    """`(input, axis)` of the first open size that had these two numbers, None without one."""
    found = [
        (i, axis)
        for i, row in enumerate(pairs)
        for axis, pair in enumerate(row)
        if pair[0] != pair[1] and tuple(pair) == tuple(sizes)
    ]
    return found[0] if found else None


@contextlib.contextmanager
def _counted_ranges(which, pairs, inputs):
    """Within the block, `keras.ops.arange` of an open size is a tensor of the graph."""
    plain = keras.ops.arange
    sizes = {pair[which]: pair for row in pairs for pair in row if pair[0] != pair[1]}

    def counted(start, stop=None, step=None, dtype=None):
        first, end = (0, start) if stop is None else (start, stop)
        if not (type(first) is type(end) is int and first == 0 and end in sizes):
            return plain(start, stop, step, dtype=dtype)
        if step not in (None, 1):
            return plain(start, stop, step, dtype=dtype)
        place, axis = _place(pairs, sizes[end])
        return count_along(inputs[place], axis, dtype or "int32")

    keras.ops.arange = counted
    try:
        yield
    finally:
        keras.ops.arange = plain


def zeros_along(tensor, axis):
    """As many zeros as a tensor is long: `(size,)`, whole numbers."""
    zeros = Zeros()(tensor)
    others = tuple(other for other in range(len(zeros.shape)) if other != axis)
    return keras.ops.sum(zeros, axis=others) if others else zeros


def count_along(tensor, axis, dtype):
    """0, 1, 2 ... for each position along an axis of a tensor."""
    return keras.ops.cast(keras.ops.cumsum(zeros_along(tensor, axis) + 1) - 1, dtype)


class _Replay:
    """Makes the calls of two traces again, on tensors with open sizes.

    Args:
        first, second: `Opened`, of one layer.
        inputs: list of `keras.KerasTensor` with open sizes.
        pairs: for each of them the two numbers that its axes had.
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
        """One call again."""
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
        results = _tried(make, node.operation)
        for (tensor, second), shape, result in zip(
            pairs, shapes, keras.tree.flatten(results), strict=True
        ):
            if tuple(result.shape) != shape:
                raise CannotOpenError(_depends(node.operation))
            self._values[id(tensor)] = result
            self._ids[id(second)] = id(tensor)

    def _arguments(self, node, other):
        """The arguments of a call, with tensors of open sizes."""
        both = [(tuple(n.arguments.args), n.arguments.kwargs) for n in (node, other)]
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

    def widened(self, tensor, shape, pairs):
        """A tensor repeated along its axes of length one up to a shape with open sizes.

        Args:
            tensor: symbolic tensor.
            shape: the shape to reach.
            pairs: the two numbers that each axis of it had.
        """
        missing = len(shape) - len(tensor.shape)
        own = (1,) * missing + tuple(tensor.shape)
        fixed = [to if size == 1 and to else 1 for size, to in zip(own, shape, strict=True)]
        zeros = keras.ops.zeros(fixed, "int32") if set(fixed) != {1} else None
        for axis, (size, to) in enumerate(zip(own, shape, strict=True)):
            if to is None and size == 1:
                place = _place(self._pairs, pairs[axis])
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
    """None where two traces differ."""
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
    """An array that two traces share; along axes of other lengths it must be constant."""
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
    """One size is inferred; two, where the first is the batch's before and after."""
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
    """Zeros of the open sizes are added."""
    shape = _open_shape(node.outputs[0], other.outputs[0])
    return replay.widened(args[0], shape, _sizes_of(node, other))


def _tile(replay, node, other, args):
    """Copies along open axes are zeros added, the others copies."""
    shape = _open_shape(node.outputs[0], other.outputs[0])
    repeats = [
        n if n == m else 1
        for n, m in zip(node.operation.repeats, other.operation.repeats, strict=True)
    ]
    tensor = keras.ops.tile(args[0], repeats) if set(repeats) != {1} else args[0]
    return replay.widened(tensor, shape, _sizes_of(node, other))


def _slice(replay, node, other, args):
    """The first rows of a table, as many as an axis is long, are looked up one by one."""
    tensor, starts = args
    shape = _open_shape(node.outputs[0], other.outputs[0])
    opens = [axis for axis, size in enumerate(shape) if size is None]
    others = [axis for axis in range(len(shape)) if axis not in opens]
    whole = all(tensor.shape[axis] == shape[axis] for axis in others)
    place = _place(replay._pairs, _sizes_of(node, other)[opens[0]])
    if len(opens) != 1 or not whole or place is None or any(np.ravel(starts)):
        raise CannotOpenError(_depends(node.operation))
    rows = count_along(replay._inputs[place[0]], place[1], "int32")
    return keras.ops.take(tensor, rows, axis=opens[0])


def _sizes_of(node, other):
    return list(zip(node.outputs[0].shape, other.outputs[0].shape, strict=True))


# What is done instead, by the operation and the attributes of it that depend on sizes.
_AGAIN = {
    ("Reshape", "newshape"): _reshape,
    ("BroadcastTo", "shape"): _broadcast,
    ("Tile", "repeats"): _tile,
    ("Slice", "shape"): _slice,
}
