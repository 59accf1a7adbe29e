"""`keras.ops.matmul`, of two tensors or of a tensor and an array."""

import keras
import numpy as np

from keras_sparse.surgery.rules.base import entries_of, positions, register_rule
from keras_sparse.surgery.rules.contractions import Contraction
from keras_sparse.surgery.rules.linear import Linear
from keras_sparse.surgery.units import Value


@register_rule("Matmul")
class MatmulRule(Contraction):
    """`output[..., i, j] = sum_k a[..., i, k] b[..., k, j]`, as attention is written by hand.

    A channel on `k` that is constant in both operands adds a number, which is added behind.
    """

    def for_unit(self, unit):
        """With an array on the right a layer of another kind."""
        (call,) = unit.calls
        tensors = [isinstance(operand, Value) for operand in call.args]
        array = tensors == [True, False] and np.ndim(call.args[1]) == 2
        return ArrayMatmulRule() if array else self

    def letters(self, call):
        """None for vectors and products over the batch."""
        a, b = (value.shape for value in call.inputs)
        if min(len(a), len(b)) < 3:
            return None
        rank = max(len(a), len(b)) - 2
        # Letters of the axes that both have, and of those along which one operand is broadcast.
        both, alone = "abcdefgh"[:rank], iter("qrstuvwxyz")
        sides = []
        for shape, other, ends in ((a, b, "ik"), (b, a, "kj")):
            sizes = zip(shape[-3::-1], (*other[-3::-1], *[None] * rank), both[::-1], strict=False)
            outer = [next(alone) if n == 1 != m else letter for n, m, letter in sizes]
            sides.append("".join(outer[::-1]) + ends)
        return (*sides, both + "ij")

    def summed_axis(self, call, value):
        """The rows of `b`; the channels of `a` are on its last axis."""
        return -2 if value is call.inputs[1] else None

    def products(self, call, one, two):
        return np.where(np.isnan(super().products(call, one, two)), one * two, 0.0)

    def apply(self, call, make, read):
        """The smaller product, and what the dropped channels add to it."""
        a, b = call.inputs
        added = 0.0
        if self._plan(call)[0] == "summed":
            products = self.products(call, a.constants.uniform, b.constants.uniform)
            added = float(np.nansum(products[~a.keep]))
        return _sum(make(), call.arguments(read)[0], added)

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
        return entries_of(call.args[1]) * positions(call.outputs[0].shape, -1)
