"""Constants of channels at each index of another axis, such as heads; shifts ignored by softmax.

In attention, a channel may be constant in one head only, or have another constant in each head.
`Constants` does not distinguish heads, so these functions go back through the graph.
"""

import keras
import numpy as np

from keras_sparse.surgery.constants import array_row
from keras_sparse.surgery.rules.base import Unsupported, entries_of
from keras_sparse.surgery.stand_ins import Zeros
from keras_sparse.surgery.units import Value

# A masked score of at most this value is zero after a softmax.
_HIDDEN = -1e9


def constants_along(value, axis):
    """The constants of a tensor's channels at each index of another axis.

    Args:
        value: a `Value` with followed channels.
        axis: the other axis, counted from the end; its size must be known.

    Returns:
        Array `(size of the axis, channels)`, NaN if a channel depends on the input.
    """
    uniform = value.constants.uniform
    known = np.broadcast_to(uniform, (value.shape[axis], len(uniform)))
    call = value.producer
    if call is None or not np.isnan(uniform).any():
        return known
    rule = getattr(call.unit.rule, "rule", call.unit.rule)
    find = None if isinstance(rule, Unsupported) else _FOUND.get(type(call.operation).__name__)
    found = None if find is None else find(call, axis)
    return known if found is None else np.where(np.isnan(known), found, known)


def _of_einsum_dense(call, axis):
    """Kernel and bias may differ between heads."""
    return call.unit.rule.places(call, axis)


def _of_reshape(call, axis):
    """Channels that are split into heads and channels; other reshapes are not followed."""
    source, out = call.inputs[0], call.outputs[0]
    split = (out.shape[axis], out.shape[-1])
    if (source.axis, out.axis, axis) != (-1, -1, -2) or None in (*split, source.shape[-1]):
        return None
    return source.constants.uniform.reshape(split) if np.prod(split) == source.shape[-1] else None


def _of_moved_axes(call, axis):
    """The constants along the axis before it was moved."""
    source, size = call.inputs[0], len(call.outputs[0].shape)
    rank = len(source.shape)
    for before in range(rank):
        if call.unit.rule.axis(call, before, rank) == axis % size and before - rank != source.axis:
            return constants_along(source, before - rank)
    return None


def _of_same(call, axis):
    """The constants of the input, which the call does not change."""
    pinned = call.kwargs.get("training") is True
    return None if pinned or len(call.inputs) != 1 else constants_along(call.inputs[0], axis)


def _of_function(call, axis):
    """Sums and products with numbers or tensors of the same shape."""
    out = call.outputs[0]
    rows = []
    for operand in call.args:
        if isinstance(operand, Value) and tuple(operand.shape) == tuple(out.shape):
            rows.append(constants_along(operand, axis))
        elif not isinstance(operand, Value) and entries_of(operand) == 1:
            rows.append(array_row(keras.ops.convert_to_numpy(operand), -1))
        else:
            return None
    return call.unit.rule.merge(rows, call)


def _of_product(call, axis):
    """The values of attention: all constants if a softmax gives the weights, else zeros."""
    return call.unit.rule.places(call, axis)


_FOUND = {
    "EinsumDense": _of_einsum_dense,
    "Reshape": _of_reshape,
    **dict.fromkeys(("Transpose", "Permute", "Swapaxes", "Moveaxis"), _of_moved_axes),
    **dict.fromkeys(("Cast", "Dropout", "Identity"), _of_same),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Divide", "TrueDivide"), _of_function),
    **dict.fromkeys(("Einsum", "Matmul", "DotProductAttention"), _of_product),
}


def ignored_along(value):
    """Axes of a tensor along which all of its readers ignore a common shift.

    A softmax does not change if the same number is added to all scores of a query.

    Returns:
        A set of axes, counted from the end: a shift that is the same along all of them changes
        nothing. None if every shift changes something.
    """
    if "output of the model" in value.why:
        return None
    found = set()
    for call in {id(call): call for unit in value.units for call in unit.calls}.values():
        if any(value is source for source in call.inputs):
            axes = _ignored_by(call, value)
            if axes is None:
                return None
            found |= axes
    return found


def _ignored_by(call, value):
    """As `ignored_along`, for one call that reads the tensor."""
    kind, rank = type(call.operation).__name__, len(value.shape)
    if kind in ("ZerosLike", "OnesLike") or isinstance(call.operation, Zeros):
        return set()
    axis = getattr(call.operation, "axis", None)
    first, single = value in call.args[:1], type(axis) is int
    if kind == "Softmax" and single and _is_plain(call, value) and first:
        return {axis % rank - rank}
    behind = ignored_along(call.outputs[0]) if _is_plain(call, value) else None
    if behind is None:
        return None
    if kind == "Transpose" and call.operation.axes is not None:
        return {int(call.operation.axes[axis]) % rank - rank for axis in behind}
    if kind == "TakeAlongAxis" and first and single:
        return {*behind, axis % rank - rank}
    return behind if _keeps_shifts(call, value) else None


def _is_plain(call, value):
    """Whether a call of Keras' own reads a tensor once, and returns one of the same rank."""
    once = bool(call.args) and sum(value is source for source in call.inputs) == 1
    of_keras = type(call.operation).__module__.startswith("keras.")
    return once and of_keras and len(call.outputs[0].shape) == len(value.shape)


def _keeps_shifts(call, value):
    """Whether shifting a tensor shifts the output of a call, up to a factor."""
    kind, count = type(call.operation).__name__, len(call.args)
    others = [operand for operand in call.args if operand is not value]
    if kind == "Cast":
        return "float" in call.outputs[0].dtype and "float" in value.dtype
    if kind == "Where":
        return count == 3 and call.args[1] is value and _is_hidden(call.args[2])
    if kind in ("Divide", "Multiply", "TrueDivide"):
        number = not isinstance(others[0], Value) and entries_of(others[0]) == 1
        return number and (kind == "Multiply" or call.args[0] is value)
    return kind in ("Add", "Subtract")


def _is_hidden(operand):
    return (
        not isinstance(operand, Value)
        and entries_of(operand) == 1
        and float(np.ravel(operand)[0]) <= _HIDDEN
    )


def silent(call, letters):
    """Which channels of a sum of products change nothing in the readers of its output.

    Args:
        call: a product of two tensors that sums over their channels.
        letters: a string for each tensor, and one for the output, with a letter for each axis.

    Returns:
        Boolean array with an entry for each channel.
    """
    out = letters[-1]
    ignored = ignored_along(call.outputs[0])
    along = None if ignored is None else {out[axis] for axis in ignored}
    return silent_between(*call.inputs, letters, along)


def silent_between(one, two, letters, along):
    """As `silent`, for two tensors and the letters of axes along which a shift is ignored.

    A channel is silent if it is zero in either operand at each index of an axis that both share. It
    is also silent if its product is constant along `along`, the axes of a later softmax; `along` is
    None if there is no softmax.
    """
    *sides, out = letters
    places = [letter for letter in out[1:] if letter in sides[0] and letter in sides[1]]
    axes = [tuple(side.index(letter) - len(side) for side in sides) for letter in places]
    axes = [(a, b) for a, b in axes if one.shape[a] == two.shape[b] is not None]
    if axes:
        constants = constants_along(one, axes[-1][0]), constants_along(two, axes[-1][1])
        place = {sides[0][axes[-1][0]]}
    else:
        constants = one.constants.uniform[None], two.constants.uniform[None]
        place = set()
    nothing = (constants[0] == 0) | (constants[1] == 0)
    if along is not None:
        known = [~np.isnan(rows) for rows in constants]
        for own, fixed in ((sides[0], known[1]), (sides[1], known[0])):
            # The other operand is constant at each place, so the product varies only as this one.
            if not along & set(own):
                nothing = nothing | fixed
        if not along & place:
            nothing = nothing | (known[0] & known[1])
    return nothing.all(0)
