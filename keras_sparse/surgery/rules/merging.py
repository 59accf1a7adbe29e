"""Rules of layers with several inputs: sums, products, concatenation."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants, align, array_row
from keras_sparse.surgery.rules.base import in_step, nothing_known, register_rule
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.units import Value


class Merge(Coupled):
    """An elementwise function of several tensors, with broadcasting.

    Operands have the channels of the output, or one channel that is broadcast.
    """

    arity = None
    mixing = "merges tensors without a common channel axis"
    # The neutral element, and the operation that replaces an operand by a vector of constants.
    neutral = None
    replace = None
    # Whether Keras' layer treats masked positions of its operands differently.
    reads_masks = False

    def merge(self, rows, call):
        """The output's constants, from arrays `(classes, channels)` with those of the operands."""
        raise NotImplementedError

    def operands(self, call):
        """The operands in order: a `Value` or an array for each."""
        return call.inputs

    def forward(self, call):
        """Merges the constants, if all operands have their channels on the same axis."""
        out = call.outputs[0]
        axis = self.axis(call)
        if axis is None:
            return nothing_known(call)
        if call.masked and self.reads_masks:
            return [(axis, Constants.unknown(out.shape[axis]))]
        constants = [
            x.constants if isinstance(x, Value) else Constants(array_row(x, axis))
            for x in self.operands(call)
        ]
        rows, profile = align(constants)
        with np.errstate(all="ignore"):
            values = self.merge(rows, call)
        return [
            (axis, Constants.of(np.broadcast_to(values, (len(values), out.shape[axis])), profile))
        ]

    def axis(self, call):
        """The channel axis of output and operands, None if it differs between them."""
        out = call.outputs[0]
        axes = {v.axis for v in call.inputs if v.axis is not None and v.shape[v.axis] != 1}
        if not axes:
            axes = {v.axis for v in call.inputs}
        if len(axes) != 1 or None in axes:
            return None
        axis = axes.pop()
        size = out.shape[axis] if len(out.shape) >= -axis else None
        if not all(self._fits(operand, axis, size) for operand in self.operands(call)):
            return None
        return None if size is None else axis

    def _fits(self, operand, axis, size):
        """Whether an operand has all channels on an axis, or one that is broadcast."""
        shape = operand.shape
        if not isinstance(operand, Value):
            return len(shape) < -axis or shape[axis] in (1, size)
        if operand.axis is None or shape[operand.axis] == 1:
            return len(shape) < -axis or shape[axis] == 1
        return operand.axis == axis and shape[axis] in (1, size)

    def needs(self, unit):
        """Needs the channels of the output in all operands that the smaller layer merges."""
        for i in self.taking(unit) if unit.alive else ():
            if unit.inputs[i].size == 1 and unit.outputs[0].size > 1:
                unit.inputs[i].need_all(f"{unit.name} broadcasts it")
        super().needs(unit)

    def coupling(self, call):
        return None if self.axis(call) is None else in_step(call)

    def lost(self, unit, source):
        """Names the other operand that makes a constant depend on the input."""
        size, lost = unit.outputs[0].size, super().lost(unit, source)
        for other in unit.inputs:
            alive = ~other.constants.known
            if other is not source and alive.size in (1, size):
                producer = other.values[0].producer
                name = "the input" if producer is None else producer.unit.name
                lost = np.where(alive, f"alive in {name}", lost)
        return np.broadcast_to(lost, size)

    def taking(self, unit):
        """Indices of the inputs to merge, without those that are constant in needed channels."""
        # The masks of the operands decide on the mask of the result.
        fixed = self.neutral is None or _takes_masks(unit)
        fixed |= self.reads_masks and unit.calls[0].masked
        if fixed or len(unit.inputs) == 1:
            return list(range(len(unit.inputs)))
        keep = unit.outputs[0].keep
        taking = [i for i, port in enumerate(unit.inputs) if not self._replaceable(unit, i, keep)]
        for i in sorted(range(len(unit.inputs)), key=lambda i: i in taking, reverse=True):
            if self._covers(unit, taking):
                break
            if i not in taking:
                taking.append(i)
        return sorted(taking)

    def _replaceable(self, unit, i, keep):
        if self.axis(unit.calls[0]) is None:
            return False
        uniform = unit.inputs[i].constants.uniform
        return not np.isnan(np.broadcast_to(uniform, keep.shape)[keep]).any()

    def _covers(self, unit, taking):
        """Whether these operands alone certainly have the output's shape."""
        shapes = [unit.inputs[i].shape for i in range(len(unit.inputs))]
        rank = len(unit.outputs[0].shape)
        left = [i for i in range(len(shapes)) if i not in taking]
        if not taking:
            return False
        if not left:
            return True
        axis = self.axis(unit.calls[0])
        for position in range(rank):
            sizes = [_size(shapes[i], position - rank) for i in taking]
            others = [_size(shapes[i], position - rank) for i in left]
            target = unit.outputs[0].shape[position]
            if position - rank == axis:
                if target not in sizes:
                    return False
                continue
            # Two open sizes may differ, but two batch sizes are equal.
            certain = target in sizes and (target is not None or position == 0)
            if any(size != 1 for size in others) and not certain:
                return False
        return any(len(shapes[i]) == rank for i in taking)

    def apply(self, call, make, read):
        """Merges the inputs of `taking`, then adds or multiplies by the constants of the others."""
        return self.apply_tensors(call, make, read)

    def apply_tensors(self, call, make, read):
        """As `apply`, for a function `make()` that takes a list of tensors."""
        unit = call.unit
        taking = self.taking(unit)
        tensors = [read(call.inputs[i]) for i in taking]
        result = make()(tensors) if len(tensors) > 1 else tensors[0]
        if len(taking) == len(call.inputs):
            return result
        kept = unit.outputs[0].kept
        constant = np.full(len(kept), self.neutral)
        for i in range(len(unit.inputs)):
            if i not in taking:
                uniform = unit.inputs[i].constants.uniform
                constant = self.merge(
                    [constant, np.broadcast_to(uniform, unit.outputs[0].keep.shape)[kept]], call
                )
        if (constant == self.neutral).all():
            return result
        shape = (-1,) + (1,) * (-self.axis(call) - 1)
        return self.replace(result, constant.reshape(shape).astype(call.outputs[0].dtype))


def _takes_masks(unit):
    """Whether an operand has a mask in one of the calls."""
    return any(call.takes_masks for call in unit.calls)


def _size(shape, axis):
    return shape[axis] if -axis <= len(shape) else 1


@register_rule(keras.layers.Add)
class AddRule(Merge):
    """A sum; constants add up."""

    neutral = 0.0
    replace = staticmethod(keras.ops.add)

    def merge(self, rows, call):
        return sum(rows[1:], rows[0])


@register_rule(keras.layers.Multiply)
class MultiplyRule(Merge):
    """A product: zero if one factor is zero, because the others are assumed to be finite."""

    reads_masks = True
    neutral = 1.0
    replace = staticmethod(keras.ops.multiply)

    def merge(self, rows, call):
        product, zero = rows[0], rows[0] == 0
        for row in rows[1:]:
            product, zero = product * row, zero | (row == 0)
        return np.where(zero, 0.0, product)


@register_rule(keras.layers.Subtract)
class SubtractRule(Merge):
    """A difference."""

    def merge(self, rows, call):
        return rows[0] - rows[1]


@register_rule(keras.layers.Average)
class AverageRule(Merge):
    """A mean over the operands."""

    reads_masks = True

    def merge(self, rows, call):
        return sum(rows[1:], rows[0]) / len(rows)


@register_rule(keras.layers.Maximum)
class MaximumRule(Merge):
    """The largest operand."""

    reads_masks = True

    def merge(self, rows, call):
        """Unknown if an operand is: `np.maximum` propagates NaN."""
        return np.maximum.reduce(list(np.broadcast_arrays(*rows)))


@register_rule(keras.layers.Minimum)
class MinimumRule(Merge):
    """The smallest operand."""

    reads_masks = True

    def merge(self, rows, call):
        """Unknown if an operand is: `np.minimum` propagates NaN."""
        return np.minimum.reduce(list(np.broadcast_arrays(*rows)))


@register_rule("CustomScaleLayer")
class ScaledSumRule(Merge):
    """Inception-ResNet's `x + scale * y`."""

    def merge(self, rows, call):
        return rows[0] + call.operation.scale * rows[1]


@register_rule(keras.layers.Concatenate)
class ConcatenateRule(Coupled):
    """Concatenation along the channels, or along another axis, which couples all inputs."""

    arity = None
    mixing = "joins tensors with channels on different axes"

    def forward(self, call):
        """Concatenates the constants; along another axis, they must be the same in all inputs."""
        axis = self._axis(call)
        if axis is None:
            return nothing_known(call)
        if self._along(call) == axis:
            rows, profile = align([value.constants for value in call.inputs])
            return [(axis, Constants.of(np.concatenate(rows, axis=1), profile))]
        uniform = [value.constants.uniform for value in call.inputs]
        same = np.all([row == uniform[0] for row in uniform], axis=0)
        return [(axis, Constants.of(np.where(same, uniform[0], np.nan)))]

    def _axis(self, call):
        """The channel axis of all inputs, None if it differs between them."""
        axes = {value.axis for value in call.inputs}
        return axes.pop() if len(axes) == 1 else None

    def _along(self, call):
        """The axis of concatenation, counted from the end."""
        rank = len(call.outputs[0].shape)
        return call.operation.axis % rank - rank

    def coupling(self, call):
        """Couples each input with its slice of the output, or with all of it."""
        axis = self._axis(call)
        pairs, start = [], 0
        for value in call.inputs:
            channels = np.arange(len(value.keep))
            pairs.append((value, channels, call.outputs[0], channels + start))
            start += len(channels) if self._along(call) == axis else 0
        return None if axis is None else pairs

    def needs(self, unit):
        """Needs a channel of each input if masks are joined too."""
        coupling, output = self.coupling(unit.calls[0]), unit.outputs[0]
        if unit.alive and coupling and _takes_masks(unit):
            for *_, places in coupling:
                if not output.keep[places].any():
                    first = np.arange(output.size) == places[0]
                    output.need(first, f"{unit.name} joins masks too")
        super().needs(unit)

    def lost(self, unit, source):
        return "not the same constant in all that it joins"

    def taking(self, unit):
        """Indices of the inputs with a needed channel in their slice of the output."""
        keep, coupling = unit.outputs[0].keep, self.coupling(unit.calls[0])
        if coupling is None or _takes_masks(unit):
            return super().taking(unit)
        return [i for i, (*_, places) in enumerate(coupling) if keep[places].any()]

    def apply(self, call, make, read):
        tensors = [read(call.inputs[i]) for i in self.taking(call.unit)]
        return make()(tensors) if len(tensors) > 1 else tensors[0]
