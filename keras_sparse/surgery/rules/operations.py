"""Nodes made by `keras.ops` and by operators on tensors, known by the names of their classes."""

import keras
import numpy as np

from keras_sparse.surgery.graph import Value
from keras_sparse.surgery.rules import merging
from keras_sparse.surgery.rules.base import Elementwise, register_rule


@register_rule(
    "Abs",
    "Absolute",
    "Arccos",
    "Arcsin",
    "Arcsinh",
    "Arctan",
    "Cast",
    "Cbrt",
    "Ceil",
    "Celu",
    "Clip",
    "Copy",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Erfc",
    "Exp",
    "Exp2",
    "Expm1",
    "Floor",
    "Gelu",
    "HardShrink",
    "HardSigmoid",
    "HardSilu",
    "HardTanh",
    "Isfinite",
    "Isinf",
    "Isnan",
    "LeakyRelu",
    "Log",
    "Log10",
    "Log1p",
    "Log2",
    "LogSigmoid",
    "LogicalNot",
    "Negative",
    "Reciprocal",
    "Relu",
    "Relu6",
    "Round",
    "Rsqrt",
    "Selu",
    "Sigmoid",
    "Sign",
    "Silu",
    "Sin",
    "Sinh",
    "SoftShrink",
    "Softplus",
    "Softsign",
    "SparsePlus",
    "SparseSigmoid",
    "Sqrt",
    "Square",
    "Squareplus",
    "StopGradient",
    "Tan",
    "Tanh",
    "TanhShrink",
    "Threshold",
    "Trunc",
)
class UnaryRule(Elementwise):
    """A function of one tensor, element by element."""

    def refuses(self, call):
        """Further tensors or arrays, `clip` with a bound for each channel for one."""
        others = [leaf for leaf in _leaves(call) if leaf is not call.inputs[0]]
        return "takes arrays" if any(getattr(leaf, "shape", ()) for leaf in others) else None


def _leaves(call):
    return [leaf for leaf in keras.tree.flatten((call.args, call.kwargs)) if leaf is not None]


class Binary(merging.Elementwise):
    """A function of two operands, of which one may be a number or an array."""

    operand_count = 2

    def refuses(self, call):
        """Variables: the smaller model would share them, or forget that they are trained."""
        if len(call.args) != self.operand_count or any(x is None for x in call.args):
            return "is called in an unknown way"
        if any(isinstance(x, keras.Variable) for x in call.args):
            return "reads a variable that belongs to no layer"
        return None

    def operands(self, call):
        """The arguments, numbers as arrays."""
        return [x if isinstance(x, Value) else _array(x) for x in call.args]

    def apply(self, call, make, read):
        """As for layers; an array operand loses the channels that the tensor has lost."""
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
class AddRule(Binary, merging.AddRule):
    """A sum."""


@register_rule("Multiply")
class MultiplyRule(Binary, merging.MultiplyRule):
    """A product."""


@register_rule("Subtract")
class SubtractRule(Binary, merging.SubtractRule):
    """A difference."""


@register_rule("Maximum")
class MaximumRule(Binary, merging.MaximumRule):
    """The larger operand."""


@register_rule("Minimum")
class MinimumRule(Binary, merging.MinimumRule):
    """The smaller operand."""


@register_rule("TrueDivide", "Divide")
class DivideRule(Binary):
    """A quotient; division by zero leaves it unknown."""

    def merge(self, rows, call):
        """Unknown where one is."""
        return rows[0] / rows[1]


@register_rule("Power")
class PowerRule(Binary):
    """A power; what is not finite is unknown."""

    def merge(self, rows, call):
        """Unknown where one is, even if one to any power is one."""
        return np.where(np.isnan(rows[0] + rows[1]), np.nan, rows[0] ** rows[1])


_COMPARISONS = {
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "Equal": np.equal,
    "NotEqual": np.not_equal,
    "LogicalAnd": np.logical_and,
    "LogicalOr": np.logical_or,
    "LogicalXor": np.logical_xor,
}


@register_rule(*_COMPARISONS)
class ComparisonRule(Binary):
    """True or false, as one or zero."""

    def merge(self, rows, call):
        """Unknown where one is."""
        function = _COMPARISONS[type(call.operation).__name__]
        return np.where(np.isnan(rows[0] + rows[1]), np.nan, function(*rows))


@register_rule("Where")
class WhereRule(Binary):
    """The second operand where the first is true, else the third."""

    operand_count = 3

    def merge(self, rows, call):
        """Known where the condition is, or where both choices are the same."""
        condition, yes, no = np.broadcast_arrays(*rows)
        chosen = np.where(condition != 0, yes, no)
        return np.where((yes == no) | ~np.isnan(condition), chosen, np.nan)
