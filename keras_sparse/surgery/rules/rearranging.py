"""Rules of `keras.ops` that reduce, join or move entries."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules import merging
from keras_sparse.surgery.rules.base import register_rule, to_numbers
from keras_sparse.surgery.rules.channelwise import Beside
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.rules.shaping import MovedAxis, Moving, best, pairs

# The result of a reduction of `count` equal numbers, if it differs from these numbers.
_REDUCED = {
    "All": lambda constant, count: constant != 0,
    "Any": lambda constant, count: constant != 0,
    "Argmax": lambda constant, count: 0.0,
    "Argmin": lambda constant, count: 0.0,
    "CountNonzero": lambda constant, count: np.where(constant == 0, 0.0, count),
    "Logsumexp": lambda constant, count: constant + np.log(count),
    "Nanprod": lambda constant, count: np.where(_idempotent(constant), constant, constant**count),
    "Nanstd": lambda constant, count: 0.0,
    "Nansum": lambda constant, count: np.where(constant == 0, 0.0, constant * count),
    "Nanvar": lambda constant, count: 0.0,
    "Prod": lambda constant, count: np.where(_idempotent(constant), constant, constant**count),
    "Ptp": lambda constant, count: 0.0,
    "Std": lambda constant, count: 0.0,
    "Sum": lambda constant, count: np.where(constant == 0, 0.0, constant * count),
    "Var": lambda constant, count: 0.0,
}


def axes_of(call):
    """The axes that an operation works along, counted from the end; all if none are given."""
    rank = len(call.inputs[0].shape)
    axes = call.operation.axis
    axes = range(rank) if axes is None else np.atleast_1d(axes)
    return [int(axis) % rank - rank for axis in axes]


def _idempotent(constant):
    return (constant == 0) | (constant == 1)


@register_rule(
    *_REDUCED,
    *("Amax", "Amin", "Max", "Mean", "Median", "Min", "Nanmax", "Nanmean", "Nanmedian", "Nanmin"),
)
class ReductionRule(Beside):
    """A reduction over axes other than the channels; it may move the channel axis.

    A reduction over channels can lose channels that are zero, if zeros do not change its result.
    """

    mixing = "reduces over channels"
    # Reductions that zeros do not change.
    ignoring_zeros = ("Any", "CountNonzero", "Nansum", "Sum")

    def _keepdims(self, call):
        return getattr(call.operation, "keepdims", False)

    def refuses(self, call):
        plain = len(call.args) == 1 and not call.kwargs
        plain = plain and getattr(call.operation, "initial", None) is None
        return None if plain else "is called with more than a tensor"

    def beside(self, call):
        """Whether the output has the channels of the input, and a batch axis."""
        source, axes = call.inputs[0], axes_of(call)
        batch = -len(source.shape) in axes and not self._keepdims(call)
        return not (source.axis is None or source.axis in axes or batch)

    def place(self, call):
        """The channel axis, counted from the end without the reduced axes after it."""
        axis = call.inputs[0].axis
        gone = [] if self._keepdims(call) else axes_of(call)
        return axis + sum(reduced > axis for reduced in gone)

    def constants(self, call, constants):
        sizes = [call.inputs[0].shape[axis] for axis in axes_of(call)]
        count = np.nan if None in sizes else float(np.prod(sizes))
        constant = constants.values[0]
        reduced = self.reduced(call.operation, constant, count)
        return Constants.of(np.where(np.isnan(constant), np.nan, reduced))

    def reduced(self, operation, constant, count):
        reduce = _REDUCED.get(type(operation).__name__)
        return constant if reduce is None else reduce(constant, count)

    def needs(self, unit):
        (call,), (source,), (target,) = unit.calls, unit.inputs, unit.outputs
        ignores = type(unit.operation).__name__ in self.ignoring_zeros
        if not ignores or source.axis not in axes_of(call):
            super().needs(unit)
        elif target.keep.any():
            target.need_all(f"{unit.name}: {self.mixing}")
            source.need(source.constants.uniform != 0, f"{unit.name}: {self.mixing}")


@register_rule("Norm")
class NormOperationRule(ReductionRule):
    """A norm of a vector, or the Frobenius norm of a matrix."""

    ignoring_zeros = ("Norm",)

    def refuses(self, call):
        operation = call.operation
        if operation.ord in (None, "fro"):
            return None
        vector = operation.axis is not None and len(operation.axis) == 1
        return None if vector and operation.ord > 0 else f"is a norm of order {operation.ord!r}"

    def reduced(self, operation, constant, count):
        order = 2.0 if operation.ord in (None, "fro") else operation.ord
        return np.where(constant == 0, 0.0, np.abs(constant) * count ** (1 / order))


@register_rule("Concatenate")
class ConcatenateOperationRule(merging.ConcatenateRule):
    """`keras.ops.concatenate`, as the layer."""

    def refuses(self, call):
        tensors = call.args[0] if call.args else ()
        plain = isinstance(tensors, (list, tuple)) and len(tensors) == len(call.inputs)
        return None if plain and len(call.args) == 1 else "joins more than tensors"


@register_rule("Reshape")
class ReshapeOperationRule(Moving):
    """`keras.ops.reshape`, with the batch in the target shape."""

    def refuses(self, call):
        plain = all(isinstance(size, int) for size in call.operation.newshape)
        return None if plain and len(call.inputs) == 1 else "reshapes to a computed shape"

    def config(self, unit):
        shape = list(unit.operation.newshape)
        relation = self.relation(unit.calls[0])
        if relation is not None and shape[relation[0]] != -1:
            shape[relation[0]] = len(unit.outputs[0].kept)
        return {"name": unit.operation.name, "newshape": tuple(shape)}


@register_rule("Transpose")
class TransposeRule(MovedAxis):
    """Any order of the axes, with the batch as first axis."""

    def order(self, call):
        axes = call.operation.axes
        rank = len(call.inputs[0].shape)
        return None if axes is None else [int(axis) % rank for axis in axes]

    def refuses(self, call):
        order = self.order(call)
        return None if order is not None and order[0] == 0 else "moves the batch"

    def axis(self, call, axis, rank):
        return self.order(call).index(axis)


@register_rule("Swapaxes", "Moveaxis")
class MoveAxisRule(TransposeRule):
    """Operations that move some of the axes."""

    def order(self, call):
        """The order of the axes, found by moving the axes of an array with distinct sizes."""
        operation, rank = call.operation, len(call.inputs[0].shape)
        sizes = np.empty(range(1, rank + 1), bool)
        if type(operation).__name__ == "Swapaxes":
            moved = np.swapaxes(sizes, operation.axis1, operation.axis2)
        else:
            moved = np.moveaxis(sizes, operation.source, operation.destination)
        return [size - 1 for size in moved.shape]


@register_rule("ExpandDims")
class ExpandDimsRule(MovedAxis):
    """New axes of size one."""

    def _new(self, call):
        rank = len(call.outputs[0].shape)
        return sorted(int(axis) % rank for axis in np.atleast_1d(call.operation.axis))

    def refuses(self, call):
        return "adds an axis before the batch" if 0 in self._new(call) else None

    def axis(self, call, axis, rank):
        for new in self._new(call):
            axis += new <= axis
        return axis


# Operations that do not change a line of equal numbers, whatever its length.
_KEEPING = ("Roll", "Sort")


@register_rule(
    *_KEEPING,
    "Cumprod",
    "Cumsum",
    "LogSoftmax",
    "Softmax",
    "Sparsemax",
    keras.layers.Softmax,
)
class AlongRule(Beside):
    """A function of all positions along an axis, such as softmax or cumulative sum."""

    def refuses(self, call):
        return "is called with more than a tensor" if len(call.inputs) > 1 else None

    def beside(self, call):
        axis = call.inputs[0].axis
        return axis is not None and axis not in axes_of(call)

    def constants(self, call, constants):
        """The result for equal numbers along the axis, if it is equal numbers again."""
        if type(call.operation).__name__ in _KEEPING:
            return constants
        layer = isinstance(call.operation, keras.Layer)
        sizes = [call.inputs[0].shape[axis] for axis in axes_of(call)]
        if None in sizes or (layer and call.masked):
            return Constants.unknown(constants.values.shape[1])
        return super().constants(call, constants)

    def evaluate(self, call, values):
        source = call.inputs[0]
        shape = [1] * len(source.shape)
        shape[source.axis] = -1
        lines = values.reshape(shape)
        for axis in axes_of(call):
            lines = np.repeat(lines, source.shape[axis], axis)
        tensor = keras.ops.convert_to_tensor(lines, source.dtype)
        args, kwargs = call.arguments(lambda value: tensor)
        numbers = to_numbers(call.operation(*args, **kwargs))
        rows = np.moveaxis(numbers, source.axis, -1).reshape(-1, values.shape[1])
        return np.where((rows == rows[0]).all(0), rows[:1], np.nan)


@register_rule("DepthToSpace", "Flip", "Repeat", "SpaceToDepth", "Tile")
class CopyingRule(Moving):
    """Copies each output value from the input; numbered channels show from which channel.

    Applied to some of the channels, the operation gives the corresponding part of the output.
    """

    def refuses(self, call):
        alike = np.ndim(getattr(call.operation, "repeats", 1)) == 0
        several = type(call.operation).__name__ == "Repeat" and not alike
        return "repeats each position as often as an array says" if several else None

    def relation(self, call):
        """As `Moving.relation`, found by calling the operation on the indices of channels."""
        notes = call.unit.notes
        if "relation" not in notes:
            notes["relation"] = self._read_off(call)
        return notes["relation"]

    def key(self, call):
        """The call itself, because no other call orders positions in the same way."""
        return call

    def _read_off(self, call):
        source = call.inputs[0]
        if source.axis is None:
            return None
        shape = [size or 2 * getattr(call.operation, "block_size", 1) for size in source.shape]
        numbers = np.arange(shape[source.axis]).reshape((-1,) + (1,) * (-source.axis - 1))
        tensor = keras.ops.convert_to_tensor(np.broadcast_to(numbers, shape), "float32")
        moved = keras.ops.convert_to_numpy(call.operation(tensor)).astype(int)
        indices = np.indices(moved.shape, sparse=True)
        places = range(-1, -moved.ndim, -1)
        sides = {place: np.broadcast_to(indices[place], moved.shape) for place in places}
        return best((place, pairs(moved.ravel(), side.ravel())) for place, side in sides.items())


@register_rule("Squeeze")
class SqueezeRule(Coupled):
    """Removes axes of size one; if the channel axis is among them, one channel is left."""

    def refuses(self, call):
        """Refuses calls without axes, which might squeeze the batch."""
        if call.operation.axis is None:
            return "squeezes whatever is one"
        return "squeezes the batch" if -len(call.inputs[0].shape) in axes_of(call) else None

    def forward(self, call):
        """The same constants on the new channel axis, if there is one."""
        source, out = call.inputs[0], call.outputs[0]
        gone = [int(axis) % len(source.shape) for axis in np.atleast_1d(call.operation.axis)]
        axis = source.axis
        if axis is None or axis % len(source.shape) in gone:
            return [(None, Constants.unknown(1))]
        place = axis % len(source.shape)
        place -= sum(axis < place for axis in gone)
        return [(place - len(out.shape), source.constants.flattened())]
