"""Nodes made by `keras.ops` that reduce, join, move, pad or slice."""

import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules import merging
from keras_sparse.surgery.rules.base import (
    Elementwise,
    Rule,
    couple,
    default_axis,
    default_size,
    in_step,
    register_rule,
)
from keras_sparse.surgery.rules.shaping import MovedAxis, Moving


@register_rule(
    "Mean", "Median", "Max", "Amax", "Min", "Amin", "Sum", "Prod", "Var", "Std", "Any", "All"
)
class ReductionRule(Elementwise):
    """A reduction over other axes than the channels', which may move them."""

    def _axes(self, call):
        """The reduced axes, counted from the end; all if none are given."""
        rank = len(call.inputs[0].shape)
        axes = call.operation.axis
        axes = range(rank) if axes is None else np.atleast_1d(axes)
        return [int(axis) % rank - rank for axis in axes]

    def refuses(self, call):
        """An `initial` or `where`."""
        plain = len(call.args) == 1 and not call.kwargs
        plain = plain and getattr(call.operation, "initial", None) is None
        return None if plain else "is called with more than a tensor"

    def forward(self, call):
        """The constant, or what as many of it as are reduced make."""
        source, out, operation = call.inputs[0], call.outputs[0], call.operation
        axes = self._axes(call)
        if source.axis is None or source.axis in axes or -len(source.shape) in axes:
            return [(default_axis(out), Constants.unknown(default_size(out)))]
        axis = source.axis
        if not operation.keepdims:
            axis += sum(reduced > axis for reduced in axes)
        sizes = [source.shape[reduced] for reduced in axes]
        count = np.nan if None in sizes else float(np.prod(sizes))
        uniform = source.constants.uniform
        return [(axis, Constants.of(self._reduced(type(operation).__name__, uniform, count)))]

    def _reduced(self, name, constant, count):
        if name == "Sum":
            return np.where(constant == 0, 0.0, constant * count)
        if name == "Prod":
            return np.where((constant == 0) | (constant == 1), constant, constant**count)
        if name in ("Var", "Std"):
            return constant * 0.0
        return (constant != 0) * (constant * 0 + 1) if name in ("Any", "All") else constant

    def needs(self, unit):
        """Lockstep, unless channels are reduced."""
        source, target = unit.inputs[0], unit.outputs[0]
        axes = self._axes(unit.calls[0])
        if source.axis is None or source.axis in axes or -len(source.shape) in axes:
            if target.keep.any():
                source.need_all(f"{unit.name} reduces over channels")
                target.need_all(f"{unit.name} reduces over channels")
        else:
            couple(source, target)


@register_rule("Concatenate")
class ConcatenateRule(merging.ConcatenateRule):
    """As the layer."""

    def refuses(self, call):
        """Arrays among the tensors."""
        tensors = call.args[0] if call.args else ()
        plain = isinstance(tensors, (list, tuple)) and len(tensors) == len(call.inputs)
        return None if plain and len(call.args) == 1 else "joins more than tensors"


@register_rule("Reshape")
class ReshapeRule(Moving):
    """`keras.ops.reshape`, with the batch in the target shape."""

    def refuses(self, call):
        """Shapes that are computed, or that touch the batch."""
        shape = call.operation.newshape
        plain = len(call.inputs) == 1 and all(isinstance(size, int) for size in shape)
        before, after = call.inputs[0].shape, call.outputs[0].shape
        batch = before[0] is None and after[0] is None and None not in after[1:]
        return None if plain and batch else "reshapes the batch, or to a computed shape"

    def config(self, unit):
        """The target shape with fewer channels."""
        shape = list(unit.operation.newshape)
        relation = self.relation(unit.calls[0])
        if relation is not None and shape[relation[0]] != -1:
            shape[relation[0]] = len(unit.outputs[0].kept)
        return {"name": unit.operation.name, "newshape": tuple(shape)}


@register_rule("Transpose")
class TransposeRule(MovedAxis):
    """Any order of the axes; the batch stays first."""

    def order(self, call):
        """For each axis of the output the input's."""
        axes = call.operation.axes
        rank = len(call.inputs[0].shape)
        return None if axes is None else [int(axis) % rank for axis in axes]

    def refuses(self, call):
        """A batch that is moved."""
        order = self.order(call)
        return None if order is not None and order[0] == 0 else "moves the batch"

    def axis(self, call, axis, rank):
        """By the order."""
        return self.order(call).index(axis)


@register_rule("Swapaxes", "Moveaxis")
class MoveAxisRule(TransposeRule):
    """Some of the axes change places."""

    def order(self, call):
        """Read off an array whose axes are told apart by their sizes."""
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
        """An axis before the batch."""
        return "adds an axis before the batch" if 0 in self._new(call) else None

    def axis(self, call, axis, rank):
        """After the new axes before it."""
        for new in self._new(call):
            axis += new <= axis
        return axis


@register_rule("Squeeze")
class SqueezeRule(Rule):
    """Axes of size one go; if that of the channels is among them, one channel is left."""

    def refuses(self, call):
        """Axes that are not named might be the batch's."""
        return "squeezes whatever is one" if call.operation.axis is None else None

    def forward(self, call):
        """The same constants, where the channels are found again."""
        source, out = call.inputs[0], call.outputs[0]
        gone = [int(axis) % len(source.shape) for axis in np.atleast_1d(call.operation.axis)]
        axis = source.axis
        if axis is None or axis % len(source.shape) in gone:
            return [(None, Constants.unknown(1))]
        place = axis % len(source.shape)
        place -= sum(axis < place for axis in gone)
        return [(place - len(out.shape), source.constants.flattened())]

    def needs(self, unit):
        """Lockstep."""
        couple(unit.inputs[0], unit.outputs[0])

    def ties(self, call):
        """Channel by channel."""
        return in_step(call)


@register_rule("Pad")
class PadRule(Elementwise):
    """Zeros around each channel, as the layer; other paddings repeat what is there."""

    def refuses(self, call):
        """Padding of the batch or the channels, modes other than constant zeros and edges."""
        operation = call.operation
        if len(call.args) > 1 or call.kwargs.get("constant_values") is not None:
            return "pads with a value"
        widths, value = operation.pad_width, call.inputs[0]
        if len(widths) != len(value.shape) or any(widths[0]):
            return "pads the batch"
        return None if operation.mode == "constant" else f"pads by {operation.mode}"

    def _inside(self, call):
        axis = call.inputs[0].axis
        return axis is not None and not any(call.operation.pad_width[axis])

    def forward(self, call):
        """Two classes of positions, as with `ZeroPadding2D`."""
        source, out = call.inputs[0], call.outputs[0]
        if not self._inside(call):
            return [(default_axis(out), Constants.unknown(default_size(out)))]
        rows = source.constants.uniform
        return [(source.axis, Constants.of([rows, rows * 0.0], call))]

    def needs(self, unit):
        """Lockstep, unless channels are padded."""
        source, target = unit.inputs[0], unit.outputs[0]
        if self._inside(unit.calls[0]):
            couple(source, target)
        elif target.keep.any():
            source.need_all(f"{unit.name} pads the channels")
            target.need_all(f"{unit.name} pads the channels")


@register_rule("GetItem")
class GetItemRule(Rule):
    """Slices and indices on other axes than the channels, or a run of channels."""

    def _key(self, call):
        """A number, a slice or None (a new axis) for each axis; None if it is not plain."""
        key = call.args[1] if len(call.args) > 1 else call.kwargs.get("key")
        key = list(key) if isinstance(key, (tuple, list)) else [key]
        plain = all(k is None or k is Ellipsis or type(k) in (int, slice) for k in key)
        if not plain:
            return None
        missing = len(call.inputs[0].shape) - sum(k is not None and k is not Ellipsis for k in key)
        place = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
        key[place : place + 1] = [slice(None)] * missing
        return key

    def _axes(self, call):
        """`{axis of the input: (its place in the key, axis of the output or None)}`."""
        key = self._key(call)
        places = [i for i, k in enumerate(key) if k is not None]
        kept = [i for i, k in enumerate(key) if type(k) is not int]
        return {
            axis - len(places): (i, kept.index(i) - len(kept) if i in kept else None)
            for axis, i in enumerate(places)
        }

    def refuses(self, call):
        """Computed indices, anything on the batch."""
        key = self._key(call) if len(call.inputs) == 1 else None
        if key is None:
            return "has keys other than numbers and slices"
        return None if key[0] == slice(None) else "takes part of the batch"

    def _channels(self, call):
        """Indices that a slice takes of the channels, and the output's axis; None if it is none."""
        source = call.inputs[0]
        if source.axis is None:
            return None
        place, axis = self._axes(call)[source.axis]
        key = self._key(call)[place]
        if axis is None or key.step not in (None, 1):
            return None
        return np.arange(source.shape[source.axis])[key], axis

    def forward(self, call):
        """Constants of the channels that are taken."""
        source, out = call.inputs[0], call.outputs[0]
        taken = self._channels(call)
        if taken is None or not len(taken[0]):
            return [(default_axis(out), Constants.unknown(default_size(out)))]
        return [(taken[1], source.constants.flattened().take(taken[0]))]

    def needs(self, unit):
        """The channels that are taken; others may go or stay, the slice is made anew."""
        source, target = unit.inputs[0], unit.outputs[0]
        if not target.keep.any():
            return
        taken = self._channels(unit.calls[0])
        if taken is None or not len(taken[0]):
            source.need_all(f"{unit.name} takes one channel")
            target.need_all(f"{unit.name} takes one channel")
            return
        channels = taken[0]
        need, why = np.zeros(source.size, bool), np.full(source.size, "", object)
        need[channels], why[channels] = target.keep, target.why
        source.need(need, why)
        target.need(source.keep[channels], source.why[channels])

    def ties(self, call):
        """The channels that are taken."""
        taken = self._channels(call)
        if taken is None or not len(taken[0]):
            return []
        return [(call.inputs[0], taken[0], call.outputs[0], np.arange(len(taken[0])))]

    def apply(self, call, make, read):
        """The slice of the kept channels that holds the kept channels of the old slice."""
        source = call.inputs[0]
        taken = self._channels(call)
        if taken is None or len(taken[0]) == source.shape[source.axis]:
            return super().apply(call, make, read)
        kept = source.keep
        places = (np.cumsum(kept) - 1)[taken[0][kept[taken[0]]]]
        key = self._key(call)
        key[self._axes(call)[source.axis][0]] = slice(int(places[0]), int(places[-1]) + 1)
        return make()(read(source), tuple(key))
