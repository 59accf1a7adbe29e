"""Reshapes that part channels into heads, or put them together again."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import plain_config, reasons_behind, register_rule
from keras_sparse.surgery.rules.coupled import carry
from keras_sparse.surgery.rules.filling import filled_row
from keras_sparse.surgery.rules.places import constants_along
from keras_sparse.surgery.rules.shaping import Moving


class Reshaping(Moving):
    """A reshape, in which heads may lose different channels.

    Heads have equally many channels, so a channel stays in all heads if one of them needs it. Where
    the heads are made, constants take the places of what the others have lost. Where they are put
    together again, only what is needed is taken.
    """

    def _parts(self, call):
        """Whether the last axis becomes two."""
        return self._apart(call, _makes_heads(call.inputs[0].shape, call.outputs[0].shape))

    def _joins(self, call):
        """Whether the last two axes become one."""
        return self._apart(call, _makes_heads(call.outputs[0].shape, call.inputs[0].shape))

    def _apart(self, call, heads):
        """Whether the channels are the last axis before and after."""
        relation = self.relation(call) if heads and call.inputs[0].axis == -1 else None
        return relation is not None and relation[0] == -1

    def forward(self, call):
        """Of heads that are put together, a channel's constant in each of them."""
        if self._joins(call):
            return [(-1, Constants.of(constants_along(call.inputs[0], -2).reshape(1, -1)))]
        return super().forward(call)

    def refilled(self, unit, source):
        """Constants of heads that have lost a channel which another needs."""
        if not self._parts(unit.calls[0]):
            return super().refilled(unit, source)
        return ~np.isnan(source.constants.uniform)

    def needs(self, unit):
        """Of heads that are put together, what any of them needs, and no more behind."""
        call, source, target = unit.calls[0], unit.inputs[0], unit.outputs[0]
        if not self._joins(call):
            super().needs(unit)
        elif unit.alive:
            _, inputs, outputs = self.relation(call)
            lost = "not constant behind it"
            carry(
                *(target, outputs, source, inputs),
                lambda: reasons_behind(source, target, lost, of=inputs, at=outputs),
            )

    def width(self, unit):
        """How many channels the output has when it has been reshaped."""
        if self._joins(unit.calls[0]):
            return len(unit.inputs[0].kept) * unit.inputs[0].shape[-2]
        return len(unit.outputs[0].kept)

    def apply(self, call, make, read):
        source, out = call.inputs[0], call.outputs[0]
        if self._parts(call):
            wanted = np.tile(out.keep, len(source.keep) // len(out.keep))
            return make()(filled_row(read(source), source, wanted))
        result = super().apply(call, make, read)
        if self._joins(call):
            made = np.tile(source.keep, out.shape[-1] // len(source.keep))
            taken = out.keep[made]
            if not taken.all():
                return keras.ops.take(result, np.flatnonzero(taken), axis=-1)
        return result


def _makes_heads(before, after):
    """Whether the last axis of a shape becomes the last two of the other, with sizes known."""
    if len(after) != len(before) + 1 or None in (before[-1], *after[-2:]) or after[-2] == 1:
        return False
    # Open sizes may change places with others.
    return before[-1] == after[-2] * after[-1] and all(
        one in (two, None) or two is None for one, two in zip(before[:-1], after[:-2], strict=True)
    )


@register_rule(keras.layers.Reshape)
class ReshapeRule(Reshaping):
    """Any shape; the target's channel count follows what is kept."""

    def config(self, unit):
        config = plain_config(unit)
        relation = self.relation(unit.calls[0])
        target = list(config["target_shape"])
        if relation is not None and target[relation[0]] != -1:
            target[relation[0]] = self.width(unit)
        return {**config, "target_shape": tuple(target)}


@register_rule("Reshape")
class ReshapeOperationRule(Reshaping):
    """`keras.ops.reshape`, with the batch in the target shape."""

    def refuses(self, call):
        plain = all(isinstance(size, int) for size in call.operation.newshape)
        return None if plain and len(call.inputs) == 1 else "reshapes to a computed shape"

    def config(self, unit):
        shape = list(unit.operation.newshape)
        relation = self.relation(unit.calls[0])
        if relation is not None and shape[relation[0]] != -1:
            shape[relation[0]] = self.width(unit)
        return {"name": unit.operation.name, "newshape": tuple(shape)}
