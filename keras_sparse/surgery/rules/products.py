"""Rules of `keras.ops.matmul` for two tensors, and for a tensor and an array."""

import keras
import numpy as np

from keras_sparse.surgery.rules.base import positions, register_rule
from keras_sparse.surgery.rules.contractions import Contraction
from keras_sparse.surgery.rules.linear import Linear
from keras_sparse.surgery.units import Value


@register_rule("Matmul")
class MatmulRule(Contraction):
    """`output[..., i, j] = sum_k a[..., i, k] b[..., k, j]`, as in handwritten attention.

    A channel on `k` that is constant in both operands is removed; its product is added afterwards.
    """

    def for_unit(self, unit):
        """Another rule, if the right operand is an array."""
        (call,) = unit.calls
        tensors = [isinstance(operand, Value) for operand in call.args]
        array = tensors == [True, False] and np.ndim(call.args[1]) == 2
        return ArrayMatmulRule() if array else self

    def letters(self, call):
        """As `Contraction.letters`; None for vectors and products over the batch."""
        a, b = (value.shape for value in call.inputs)
        if min(len(a), len(b)) < 3:
            return None
        rank = max(len(a), len(b)) - 2
        # Letters of common axes, and of axes along which one operand is broadcast.
        both, alone = "abcdefgh"[:rank], iter("qrstuvwxyz")
        sides = []
        for shape, other, ends in ((a, b, "ik"), (b, a, "kj")):
            sizes = zip(shape[-3::-1], (*other[-3::-1], *[None] * rank), both[::-1], strict=False)
            outer = [next(alone) if n == 1 != m else letter for n, m, letter in sizes]
            sides.append("".join(outer[::-1]) + ends)
        return (*sides, both + "ij")

    def summed_axis(self, call, value):
        """The row axis of `b`; the channels of `a` are on its last axis."""
        return -2 if value is call.inputs[1] else None

    def products(self, call, one, two):
        return np.where(np.isnan(super().products(call, one, two)), one * two, 0.0)

    def apply(self, call, make, read):
        """Computes the smaller product, and adds the products of removed channels."""
        a, b = call.inputs
        added = 0.0
        if self._plan(call)[0] == "summed":
            products = self.products(call, a.constants.uniform, b.constants.uniform)
            added = float(np.nansum(products[~a.keep]))
        return _sum(make(), call.arguments(read)[0], added)

    def macs(self, call):
        """Number of summed products, for each entry of the output."""
        return positions(call.outputs[0].shape) * (call.inputs[0].shape[-1] or 1)


def _sum(operation, operands, added):
    """A product plus the sum of removed constants."""
    if not np.any(added):
        return operation(*operands)
    # If the sum is an output of the model, it needs the name of the operation.
    operation.name = f"{operation.name}_product"
    return operation(*operands) + added


class ArrayMatmulRule(Linear):
    """A product with an array as kernel; folded constants are added afterwards."""

    def refuses(self, call):
        """Refuses variables: the compact model would share them, or no longer train them."""
        variable = isinstance(call.args[1], keras.Variable)
        return "reads a variable that belongs to no layer" if variable else None

    def _array(self, call):
        return keras.ops.convert_to_numpy(call.args[1])

    def kernel(self, unit):
        return self._array(unit.calls[0])[None]

    def mergeable(self, layer):
        """False: constants can only be added after the product."""
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

    macs = MatmulRule.macs
