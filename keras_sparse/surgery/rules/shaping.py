"""Layers that only move values: flatten, reshape, permute, repeat."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    Passing,
    Rule,
    couple,
    default_axis,
    default_size,
    in_step,
    plain_config,
    register_rule,
)


class Moving(Rule):
    """Moves the values of one sample, keeping them in row-major order.

    The channels of input and output hang together where they hold the same values. Keeping whole
    connected sets keeps both tensors boxes, and cutting a box out commutes with the move.
    """

    def shapes(self, call):
        """Shapes of one sample before and after; None where a size is unknown."""
        return call.inputs[0].shape[1:], call.outputs[0].shape[1:]

    def relation(self, call):
        """How channels of input and output hang together.

        Returns:
            `(axis, inputs, outputs)`: the output's channel axis, and two arrays of indices so that
            input channel `inputs[i]` and output channel `outputs[i]` share values; None if no axis
            of the output separates the channels.
        """
        axis = call.inputs[0].axis
        before, after = self.shapes(call)
        if axis is None or -axis > len(before):
            return None
        if None in (*before, *after):
            same = axis == -1 and before[-1] is not None and before[-1] == after[-1]
            return (-1, np.arange(before[-1]), np.arange(before[-1])) if same else None
        channel = np.broadcast_to(
            np.arange(before[axis]).reshape((-1,) + (1,) * (-axis - 1)), before
        ).reshape(after)
        for position in range(-1, -len(after) - 1, -1):
            found = _pairs(channel, position)
            if found is not None:
                return position, *found
        return None

    def forward(self, call):
        """Constants of what a channel of the output is made of."""
        out = call.outputs[0]
        relation = self.relation(call)
        if relation is None:
            return [(default_axis(out), Constants.unknown(default_size(out)))]
        axis, inputs, outputs = relation
        source = call.inputs[0].constants.uniform
        order = np.lexsort((inputs, outputs))
        members = source[inputs[order]].reshape(out.shape[axis], -1).T
        return [(axis, Constants.of(members, call))]

    def needs(self, unit):
        """Connected sets."""
        source, target = unit.inputs[0], unit.outputs[0]
        if not target.keep.any():
            return
        relation = self.relation(unit.calls[0])
        if relation is None:
            for port in (source, target):
                port.need_all(f"{unit.name} mixes channels with positions")
            return
        _, inputs, outputs = relation
        while True:
            before = source.keep.sum() + target.keep.sum()
            source.need(*_carry(target, outputs, source.size, inputs))
            target.need(*_carry(source, inputs, target.size, outputs))
            if source.keep.sum() + target.keep.sum() == before:
                return

    def ties(self, call):
        """Channels that share values."""
        relation = self.relation(call)
        if relation is None:
            return []
        return [(call.inputs[0], relation[1], call.outputs[0], relation[2])]


def _pairs(channel, position):
    """Pairs of channel and index on an axis that share values, if one determines the other."""
    size = channel.shape[position]
    rows = np.moveaxis(channel, position, 0).reshape(size, -1)
    if not rows.size:
        return None
    if (rows == rows[:, :1]).all():
        return rows[:, 0], np.arange(size)
    counts = [np.unique(row) for row in rows]
    joined = np.concatenate(counts)
    if len({len(c) for c in counts}) == 1 and len(np.unique(joined)) == len(joined):
        return joined, np.repeat(np.arange(size), len(counts[0]))
    return None


def _carry(port, own, size, others):
    """What a port's needs mean for the port at the other side of pairs of indices."""
    need, why = np.zeros(size, bool), np.full(size, "", object)
    kept = port.keep[own]
    need[others[kept]] = True
    why[others[kept]] = port.why[own[kept]]
    return need, why


@register_rule(keras.layers.Flatten)
class FlattenRule(Moving):
    """Row-major, channels last, or channels moved to the end first."""

    def relation(self, call):
        """Channels-first layers transpose before they flatten."""
        if call.operation.data_format == "channels_last" or len(call.inputs[0].shape) < 3:
            return super().relation(call)
        shape = call.inputs[0].shape
        axis = call.inputs[0].axis
        if axis != 1 - len(shape) or None in shape[1:]:
            return None
        tiled = np.tile(np.arange(shape[1]), int(np.prod(shape[2:])))
        return -1, tiled, np.arange(len(tiled))


@register_rule(keras.layers.Reshape)
class ReshapeRule(Moving):
    """Any shape; the target's channel count follows what is kept."""

    def config(self, unit):
        """The target shape with fewer channels."""
        config = plain_config(unit)
        relation = self.relation(unit.calls[0])
        target = list(config["target_shape"])
        if relation is not None and target[relation[0]] != -1:
            target[relation[0]] = len(unit.outputs[0].kept)
        return {**config, "target_shape": tuple(target)}


class MovedAxis(Rule):
    """Puts the channels on another axis, and the positions too: which is which changes."""

    def axis(self, call, axis, rank):
        """The output's place, counted from the front, of an axis of the input's."""
        raise NotImplementedError

    def forward(self, call):
        """The same constants elsewhere."""
        source, size = call.inputs[0], len(call.outputs[0].shape)
        axis, rank = source.axis, len(source.shape)
        if axis is not None:
            axis = self.axis(call, axis % rank, rank) - size
        return [(axis, source.constants.flattened())]

    def needs(self, unit):
        """Lockstep."""
        couple(unit.inputs[0], unit.outputs[0])

    def ties(self, call):
        """Channel by channel."""
        return in_step(call)


@register_rule(keras.layers.Permute)
class PermuteRule(MovedAxis):
    """Any order of the axes behind the batch."""

    def axis(self, call, axis, rank):
        """Where the layer's dims name it, counted from one."""
        return call.operation.dims.index(axis) + 1


@register_rule(keras.layers.RepeatVector)
class RepeatVectorRule(Passing):
    """The same vector at every step; the new axis is not the last."""

    def axis(self, layer, rank):
        """The last."""
        return -1
