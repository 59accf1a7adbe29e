"""Rules of elementwise `keras.ops` and operators, registered by the names of their classes."""

import keras
import numpy as np

from keras_sparse.surgery.rules import merging
from keras_sparse.surgery.rules.base import register_rule, to_numbers
from keras_sparse.surgery.rules.channelwise import Elementwise
from keras_sparse.surgery.units import Value


@register_rule(
    *("Abs", "Absolute", "Arccos", "Arccosh", "Arcsin", "Arcsinh", "Arctan", "Arctanh"),
    *("BitwiseInvert", "BitwiseNot", "Cast", "Cbrt", "Ceil", "Celu", "Clip", "Conj", "Conjugate"),
    *("Copy", "Cos", "Cosh", "Deg2rad", "Digitize", "Elu", "Erf", "Erfc", "Erfinv", "Exp", "Exp2"),
    *("Expm1", "Fabs", "Floor", "Gelu", "HardShrink", "HardSigmoid", "HardSilu", "HardTanh", "I0"),
    *("Imag", "Isfinite", "Isinf", "Isnan", "Isneginf", "Isposinf", "Isreal", "LeakyRelu", "Log"),
    *("Log10", "Log1p", "Log2", "LogSigmoid", "LogicalNot", "NanToNum", "Negative", "OnesLike"),
    *("Rad2deg", "Real", "Reciprocal", "Relu", "Relu6", "Round", "Rsqrt", "SaturateCast", "Selu"),
    *("Sigmoid", "Sign", "Signbit", "Silu", "Sin", "Sinc", "Sinh", "SoftShrink", "Softplus"),
    *("Softsign", "SparsePlus", "SparseSigmoid", "Sqrt", "Square", "Squareplus", "StopGradient"),
    *("Tan", "Tanh", "TanhShrink", "Threshold", "Trunc", "ZerosLike"),
)
class UnaryRule(Elementwise):
    """An elementwise function of one tensor."""

    entrywise = True

    def refuses(self, call):
        """Refuses further tensors or arrays, such as bounds of `clip` for each channel."""
        others = [leaf for leaf in _leaves(call) if leaf is not call.inputs[0]]
        # `clip` has its bounds as attributes; the bins of `digitize` belong to no channel.
        own = vars(call.operation).items()
        others += [value for name, value in own if not name.startswith("_") and name != "bins"]
        return "takes arrays" if any(np.ndim(other) for other in others) else None


def _leaves(call):
    return [leaf for leaf in keras.tree.flatten((call.args, call.kwargs)) if leaf is not None]


class Binary(merging.Merge):
    """An elementwise function of two operands; one of them may be a number or an array."""

    operand_count = 2
    entrywise = True
    reads_masks = False

    def refuses(self, call):
        """Refuses variables: the compact model would share them, or no longer train them."""
        if len(call.args) != self.operand_count or any(x is None for x in call.args):
            return "is called in an unknown way"
        if any(isinstance(x, keras.Variable) for x in call.args):
            return "reads a variable that belongs to no layer"
        return None

    def operands(self, call):
        """The arguments, with numbers as arrays."""
        return [x if isinstance(x, Value) else _array(x) for x in call.args]

    def apply(self, call, make, read):
        """As for layers; removed channels are removed from array operands too."""
        if len(call.inputs) == self.operand_count:
            return self.apply_tensors(call, lambda: lambda tensors: make()(*tensors), read)
        return make()(*(read(x) if isinstance(x, Value) else self._cut(call, x) for x in call.args))

    def _cut(self, call, operand):
        axis = self.axis(call)
        array = _array(operand)
        kept = call.unit.outputs[0].kept
        if axis is None or array.ndim < -axis or array.shape[axis] == 1:
            return operand
        if len(kept) == array.shape[axis]:
            return operand
        return np.take(array, kept, axis)


def _array(x):
    return keras.ops.convert_to_numpy(x) if hasattr(x, "shape") else np.asarray(x)


@register_rule("Add")
class AddOperationRule(Binary, merging.AddRule):
    """A sum."""


@register_rule("Multiply")
class MultiplyOperationRule(Binary, merging.MultiplyRule):
    """A product."""


@register_rule("Subtract")
class SubtractOperationRule(Binary, merging.SubtractRule):
    """A difference."""


@register_rule("Maximum")
class MaximumOperationRule(Binary, merging.MaximumRule):
    """The larger operand."""


@register_rule("Minimum")
class MinimumOperationRule(Binary, merging.MinimumRule):
    """The smaller operand."""


@register_rule(
    *("Arctan2", "BitwiseAnd", "BitwiseLeftShift", "BitwiseOr", "BitwiseRightShift", "BitwiseXor"),
    *("Divide", "DivideNoNan", "Equal", "FloorDivide", "Fmax", "Fmin", "Fmod", "Gcd", "Greater"),
    *("GreaterEqual", "Heaviside", "Hypot", "Isclose", "Lcm", "Ldexp", "LeftShift", "Less"),
    *("LessEqual", "Logaddexp", "Logaddexp2", "LogicalAnd", "LogicalOr", "LogicalXor", "Mod"),
    *("Nextafter", "NotEqual", "Power", "RightShift", "TrueDivide"),
)
class FunctionRule(Binary):
    """Any function of two operands; constants are computed by the operation itself.

    It is computed in the operands' own types. Two numbers that differ in float64 may be equal in
    float32, which changes the result of rounding and comparing operations.
    """

    def merge(self, rows, call):
        """Unknown if an operand is, although `1 ** x` would be 1 for any `x`."""
        known = ~np.isnan(rows[0] + rows[1])
        if not known.any():
            return np.where(known, 0.0, np.nan)
        operands = [
            _typed(operand, np.where(known, row, 1.0))
            for operand, row in zip(call.args, rows, strict=True)
        ]
        return np.where(known, to_numbers(call.operation(*operands)), np.nan)


def _typed(operand, values):
    """Values in the type of an operand; a Python number has no dtype and is returned itself."""
    if not hasattr(operand, "dtype"):
        return operand
    dtype = keras.backend.standardize_dtype(operand.dtype)
    return keras.ops.cast(keras.ops.convert_to_tensor(values), dtype)


@register_rule("Where")
class WhereRule(Binary):
    """`where`: the second operand where the first is true, else the third."""

    operand_count = 3

    def merge(self, rows, call):
        """Known if the condition is known, or if both choices are the same."""
        condition, yes, no = np.broadcast_arrays(*rows)
        chosen = np.where(condition != 0, yes, no)
        return np.where((yes == no) | ~np.isnan(condition), chosen, np.nan)
