"""`keras.ops.matmul`, of two tensors or of a tensor and an array."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    Rule,
    default_axis,
    default_size,
    positions,
    register_rule,
)
from keras_sparse.surgery.rules.contractions import sums_to_one
from keras_sparse.surgery.rules.linear import Linear
from keras_sparse.surgery.units import Value


@register_rule("Matmul")
class MatmulRule(Rule):
    """`output[i, j] = sum_k a[i, k] b[k, j]`, as attention is written by hand.

    * Channels on `k` in both operands: one that is zero in either adds nothing. One that is
      constant in both adds a number, which is added behind.
    * Channels on `j`: those of `b` and of the output are the same, and zeros stay zeros.
    """

    arity = None

    def for_unit(self, unit):
        """With an array on the right a layer of another kind."""
        (call,) = unit.calls
        tensors = [isinstance(operand, Value) for operand in call.args]
        array = tensors == [True, False] and np.ndim(call.args[1]) == 2
        return ArrayMatmulRule() if array else self

    def refuses(self, call):
        """Arrays elsewhere, vectors, and products over the batch."""
        if len(call.inputs) != 2 or len(call.args) != 2:
            return "multiplies by an array"
        return None if all(len(v.shape) > 2 for v in call.inputs) else "multiplies over the batch"

    def _mode(self, a, b):
        """Which channels are followed."""
        if (a.axis, b.axis) == (-1, -2):
            return "summed"
        return "pass-through" if b.axis == -1 else "whole"

    def summed_axis(self, call, value):
        """The rows of `b`; the channels of `a` are on its last axis."""
        return -2 if value is call.inputs[1] else None

    def forward(self, call):
        """Zeros of `b`, if its channels are the output's; all constants behind a softmax."""
        a, b = call.inputs
        if self._mode(a, b) == "pass-through":
            uniform = b.constants.uniform
            passed = (uniform == 0) | sums_to_one(a, -1)
            return [(-1, Constants.of(np.where(passed, uniform, np.nan)))]
        out = call.outputs[0]
        return [(default_axis(out), Constants.unknown(default_size(out)))]

    def needs(self, unit):
        a, b = unit.inputs
        target = unit.outputs[0]
        mode = self._mode(*unit.calls[0].inputs)
        if not target.keep.any():
            return
        if mode == "pass-through":
            a.need_all(f"{unit.name} sums over it")
            b.need(target.keep, target.why)
            target.need(b.keep, b.why)
            return
        target.need_all(f"{unit.name} mixes channels")
        if mode == "whole":
            a.need_all(f"{unit.name} mixes channels")
            b.need_all(f"{unit.name} mixes channels")
            return
        products = self._products(a, b)
        nothing = ~np.isnan(products)
        for port, other in ((a, b), (b, a)):
            port.need(~nothing, f"{unit.name} sums over it")
            port.need(other.keep, other.why)

    def _products(self, a, b):
        """What a channel of both operands adds everywhere, NaN if that depends on the input."""
        one, two = a.constants.uniform, b.constants.uniform
        return np.where((one == 0) | (two == 0), 0.0, one * two)

    def apply(self, call, make, read):
        """The smaller product, and what the dropped channels add to it."""
        a, b = call.inputs
        summed = self._mode(a, b) == "summed"
        added = float(self._products(a, b)[~a.keep].sum()) if summed else 0.0
        return _sum(make(), call.arguments(read)[0], added)

    def coupled_channels(self, call):
        a, b = call.inputs
        mode = self._mode(a, b)
        every = np.arange(len(b.keep))
        other = {"pass-through": call.outputs[0], "summed": a}.get(mode)
        return [(b, every, other, every)] if other else []

    def macs(self, call):
        """As many products as are summed, for each number of the output."""
        return positions(call.outputs[0].shape) * (call.inputs[0].shape[-1] or 1)


def _sum(operation, operands, added):
    """A product plus what is dropped from it."""
    if not np.any(added):
        return operation(*operands)
    # An output of the model is called as the operation was, and the sum may be one.
    operation.name = f"{operation.name}_product"
    return operation(*operands) + added


class ArrayMatmulRule(Linear):
    """A kernel that is no weight; what is folded is added behind."""

    def refuses(self, call):
        """Variables: the compact model would share them, or forget that they are trained."""
        variable = isinstance(call.args[1], keras.Variable)
        return "reads a variable that belongs to no layer" if variable else None

    def _array(self, call):
        return keras.ops.convert_to_numpy(call.args[1])

    def kernel(self, unit):
        return self._array(unit.calls[0])[None]

    def mergeable(self, layer):
        """What is added behind takes the constants, or nothing does."""
        return False

    def config(self, unit):
        return unit.operation.get_config()

    def slices(self, unit):
        return {}

    def apply(self, call, make, read):
        unit = call.unit
        inputs, outputs = self.source(unit).kept, unit.outputs[0].kept
        dtype = call.outputs[0].dtype
        operands = read(call.inputs[0]), self._array(call)[np.ix_(inputs, outputs)]
        return _sum(make(), operands, self._correction(unit).astype(dtype))

    def macs(self, call):
        return int(np.size(call.args[1])) * positions(call.outputs[0].shape, -1)
