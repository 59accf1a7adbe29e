"""The rule of `keras.ops.einsum` for two tensors, or for a tensor and a matrix."""

import string

import numpy as np

from keras_sparse.surgery.rules.base import register_rule
from keras_sparse.surgery.rules.contractions import Contraction
from keras_sparse.surgery.rules.products import ArrayMatmulRule
from keras_sparse.surgery.units import Value


@register_rule("Einsum")
class EinsumRule(Contraction):
    """An einsum of two tensors; the subscripts must have an arrow."""

    def for_unit(self, unit):
        (call,) = unit.calls
        return ArrayMatmulRule() if _is_matrix_product(call) else self

    def letters(self, call):
        parts = _subscripts(call)
        if parts is None or len(parts) != 3 or not parts[-1]:
            return None
        twice = any(len(set(part)) < len(part) for part in parts)
        return None if twice else parts


def _is_matrix_product(call):
    """Whether a call contracts the last axis of a tensor with the first of a constant matrix."""
    if len(call.args) != 2 or not isinstance(call.args[0], Value) or len(call.inputs) != 1:
        return False
    parts = _subscripts(call)
    if parts is None or len(parts) != 3 or len(parts[1]) != 2:
        return False
    source, (summed, made), out = parts
    return source[-1] == summed and made not in source and out == source[:-1] + made


def _subscripts(call):
    """The letters of each operand and of the output, with a letter for each axis of an ellipsis.

    None if the subscripts have no arrow, or if an axis of the ellipsis is broadcast.
    """
    inputs, arrow, out = call.operation.subscripts.replace(" ", "").partition("->")
    if not arrow or inputs.count(",") + 1 != len(call.args):
        return None
    spare = [letter for letter in string.ascii_letters if letter not in inputs + out]
    sides, sizes = [], {}
    for side, operand in zip(inputs.split(","), call.args, strict=True):
        shape = tuple(getattr(operand, "shape", np.shape(operand)))
        start, dots, _ = side.partition("...")
        count = len(shape) - len(side) + 3 if dots else 0
        letters = "".join(spare[-count:]) if count else ""
        for letter, size in zip(letters, shape[len(start) :], strict=False):
            if sizes.setdefault(letter, size) != size:
                return None
        sides.append(side.replace("...", letters))
    longest = "".join(letter for letter in spare if letter in sizes)
    return None if ("..." in inputs) != ("..." in out) else (*sides, out.replace("...", longest))
