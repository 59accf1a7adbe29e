"""Sums of products of two tensors, and the layer `Dot`."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import nothing_known, register_rule
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.rules.places import constants_along, silent


class Contraction(Coupled):
    """`output[...] = sum a[...] b[...]`, with a letter for each axis.

    * Channels on an axis of both operands but not of the output are summed. A channel that is zero
      in either operand adds nothing. A later softmax may ignore the sum of a constant channel.
    * Channels on an axis of one operand and of the output pass through, and zeros stay zeros. Other
      constants do not change if the other operand sums to one, as scores after a softmax.
    * Channels on an axis of all three are multiplied channel by channel.
    """

    arity = None
    makes_channels = False

    def letters(self, call):
        """A string for each operand, and one for the output; None if there are none."""
        raise NotImplementedError

    def normalizes(self, call):
        """Whether both operands are first divided by their norms along the summed axis."""
        return False

    def products(self, call, one, two):
        """What each summed channel adds at all positions, NaN if it must stay."""
        # A channel that is zero in one operand still counts in the norm of the other.
        both = self.normalizes(call)
        nothing = np.logical_and(one == 0, two == 0) if both else (one == 0) | (two == 0)
        return np.where(nothing, 0.0, np.nan)

    def refuses(self, call):
        if len(call.inputs) != 2 or len(set(call.inputs)) != 2 or len(call.args) > 2:
            return "multiplies other than two different tensors"
        return "multiplies axes for which it has no rule" if self.letters(call) is None else None

    def _plan(self, call):
        """`(mode, operand, axis of the output)`."""
        *sides, out = self.letters(call)
        followed = [
            side[value.axis] if value.axis is not None else None
            for side, value in zip(sides, call.inputs, strict=True)
        ]
        if followed[0] == followed[1] is not None and followed[0] not in out:
            return "summed", None, None
        places = [
            (out.index(letter) - len(out), operand)
            for operand, letter in enumerate(followed)
            if letter is not None and letter in out and out.index(letter)
        ]
        for axis, operand in sorted(places, reverse=True):
            letter, other = followed[operand], 1 - operand
            if letter not in sides[other]:
                return "pass-through", operand, axis
            if followed[other] == letter:
                return "both", operand, axis
        return "whole", None, None

    def forward(self, call):
        mode, operand, axis = self._plan(call)
        if mode in ("whole", "summed"):
            return nothing_known(call)
        uniform = call.inputs[operand].constants.uniform
        if mode == "pass-through":
            average = self._averages(call, operand)
            return [(axis, Constants.of(np.where((uniform == 0) | average, uniform, np.nan)))]
        other = call.inputs[1 - operand].constants.uniform
        zero = (uniform == 0) | (other == 0)
        return [(axis, Constants.of(np.where(zero, 0.0, np.nan)))]

    def _averages(self, call, operand):
        """Whether the other operand sums to one over the common axis."""
        *sides, out = self.letters(call)
        side = sides[1 - operand]
        summed = [letter for letter in side if letter not in out]
        alone = [letter for letter in sides[operand] if letter not in out]
        return (
            len(summed) == 1
            and summed == alone
            and not self.normalizes(call)
            and sums_to_one(call.inputs[1 - operand], side.index(summed[0]) - len(side))
        )

    def needs(self, unit):
        mode, operand, _ = self._plan(unit.calls[0])
        if unit.alive and mode == "summed":
            unit.outputs[0].need_all(f"{unit.name}: {self.mixing}")
            uniform = [port.constants.uniform for port in unit.inputs]
            stays = np.isnan(self.products(unit.calls[0], *uniform))
            if not self.normalizes(unit.calls[0]):
                stays &= ~silent(unit.calls[0], self.letters(unit.calls[0]))
            for port in unit.inputs:
                port.need(stays, f"{unit.name} sums over it")
        if unit.alive and mode == "pass-through":
            unit.inputs[1 - operand].need_all(f"{unit.name} sums over it")
        super().needs(unit)

    def places(self, call, axis):
        """The output's constants along another axis, as in `constants_along`."""
        mode, operand, _ = self._plan(call)
        *sides, out = self.letters(call)
        if mode != "pass-through" or out[axis] not in sides[operand]:
            return None
        side = sides[operand]
        rows = constants_along(call.inputs[operand], side.index(out[axis]) - len(side))
        return np.where((rows == 0) | self._averages(call, operand), rows, np.nan)

    def coupling(self, call):
        mode, operand, _ = self._plan(call)
        if mode == "whole":
            return None
        one, two = call.inputs
        every = np.arange(len(one.keep if operand is None else call.inputs[operand].keep))
        if mode == "summed":
            return [(one, every, two, every)]
        sources = [call.inputs[operand]] if mode == "pass-through" else [one, two]
        return [(source, every, call.outputs[0], every) for source in sources]

    def macs(self, call):
        letters = self.letters(call)
        if letters is None:
            return 0
        *sides, _ = letters
        sizes = {}
        for side, operand in zip(sides, keras.tree.flatten(call.args), strict=True):
            sizes |= {letter: size or 1 for letter, size in zip(side, operand.shape, strict=True)}
        batch = sides[0][0]
        return int(np.prod([size for letter, size in sizes.items() if letter != batch], dtype=int))


def sums_to_one(value, axis):
    """Whether a tensor sums to one along an axis, because a softmax without a mask computes it."""
    while value.producer is not None:
        call = value.producer
        operation = call.operation
        if type(operation).__name__ in ("Cast", "Dropout", "Identity"):
            pinned = call.kwargs.get("training") is True
            if pinned or len(call.inputs) != 1:
                return False
            value = call.inputs[0]
            continue
        layer = isinstance(operation, keras.layers.Softmax)
        if not (layer or type(operation).__name__ == "Softmax"):
            return False
        # The layer sets a row to zero if all of it is masked.
        plain = len(call.inputs) == 1 and not (layer and call.masked)
        own = operation.axis
        return plain and type(own) is int and own % len(value.shape) == axis % len(value.shape)
    return False


@register_rule(keras.layers.Dot)
class DotRule(Contraction):
    """`Dot`: sums over one axis of each input; the first axis is the batch."""

    def normalizes(self, call):
        """The layer's argument `normalize`."""
        return call.operation.normalize

    def summed_axis(self, call, value):
        """The summed axis, if the other input is summed over its last axis."""
        layer = call.operation
        axes = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
        own = call.inputs.index(value)
        one, two = (
            axis % len(each.shape) - len(each.shape)
            for axis, each in zip(axes, call.inputs, strict=True)
        )
        mine, other = ((one, two), (two, one))[own]
        return mine if other == -1 else None

    def letters(self, call):
        """`a`, `b`, ... for the first input, `s`, `t`, ... for other axes of the second."""
        layer = call.operation
        one, two = (len(value.shape) for value in call.inputs)
        axes = (layer.axes, layer.axes) if isinstance(layer.axes, int) else layer.axes
        first, second = (axis % rank for axis, rank in zip(axes, (one, two), strict=True))
        if not first or not second:
            return None
        left = "abcdefgh"[:one]
        right = list("a" + "stuvwxyz"[: two - 1])
        right[second] = left[first]
        out = [letter for letter in left if letter != left[first]]
        out += [letter for letter in right[1:] if letter != left[first]]
        # Two vectors give one number for each sample, on a new axis.
        return None if len(out) < 2 else (left, "".join(right), "".join(out))
