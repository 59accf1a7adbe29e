"""Rules of layers that only move values: flatten, reshape, permute, repeat."""

import math

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    nothing_known,
    plain_config,
    register_rule,
)
from keras_sparse.surgery.rules.channelwise import PassThrough
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.rules.places import constants_along


def _joins_heads(call):
    """Whether a call joins the last two axes, of known sizes, as when heads are joined."""
    before, after = call.inputs[0].shape, call.outputs[0].shape
    if len(before) != len(after) + 1 or None in (after[-1], *before[-2:]):
        return False
    # An open size counts as equal to any size.
    others = zip(before[:-2], after[:-1], strict=True)
    return after[-1] == before[-2] * before[-1] and all(a == b or None in (a, b) for a, b in others)


class Moving(Coupled):
    """Moves values without changing any, as `keras.ops.reshape` does.

    Channels of input and output are coupled if they have the same values. Connected sets of
    channels are only removed as a whole, so that both tensors stay rectangular.
    """

    mixing = "mixes channels with positions"

    def relation(self, call):
        """How channels of input and output are coupled.

        Returns:
            `(axis, inputs, outputs)`: the output's channel axis, and two arrays of indices: input
            channel `inputs[i]` and output channel `outputs[i]` share values. None if no axis of the
            output separates the channels.
        """
        source, out = call.inputs[0], call.outputs[0]
        asked = [
            axis
            for reader in out.units
            for each in reader.calls
            if out in each.inputs and (axis := reader.rule.summed_axis(each, out)) is not None
        ]
        return row_major(source.shape, source.axis, out.shape, first=asked[:1])

    def forward(self, call):
        """The constants of the input channels that each output channel consists of."""
        out = call.outputs[0]
        relation = self.relation(call)
        if relation is None:
            return nothing_known(call)
        axis, inputs, outputs = relation
        if axis == call.inputs[0].axis == -1 and _joins_heads(call):
            return [(-1, Constants.of(constants_along(call.inputs[0], -2).reshape(1, -1)))]
        source = call.inputs[0].constants
        order = np.lexsort((inputs, outputs))
        if len(order) == out.shape[axis] == source.values.shape[1]:  # one of each
            return [(axis, source.moved(inputs[order], self.key(call), self._all_left(call)))]
        members = source.uniform[inputs[order]].reshape(out.shape[axis], -1).T
        return [(axis, Constants.of(members, call))]

    def key(self, call):
        """Identifies the new order of the positions; in row-major order, the shape does."""
        return call.outputs[0].shape

    def _all_left(self, call):
        """Whether a sample has its old values, each equally often; False if the batch changes."""
        before, after = (value.shape[1:] for value in (call.inputs[0], call.outputs[0]))
        if None in (*before, *after):
            return False
        return math.prod(after) % math.prod(before) == 0

    def coupling(self, call):
        relation = self.relation(call)
        return relation and [(call.inputs[0], relation[1], call.outputs[0], relation[2])]

    def lost(self, unit, source):
        return "coupled to channels that are not constant"


# Longest period of values to examine.
_LONGEST = 2**24


def row_major(before, axis, after, first=()):
    """The relation of a tensor's channels to the channels after a reshape.

    In row-major order, the index on an axis repeats after a number of values: the product of the
    sizes from this axis on. So one common period of both tensors shows all pairs. Earlier axes may
    be open, or be reshaped into the batch.

    Args:
        before, after: shapes; the batch size comes first, unknown sizes are None.
        axis: the channel axis of `before`, counted from the end, or None.
        first: axes of `after`, counted from the end, to try before the others.

    Returns:
        As `Moving.relation`, for the last axis of `after` that does not couple all channels.
    """
    if axis is None or -axis >= len(before):
        return None
    places = [*first, *range(-1, -len(after), -1)]
    return best((place, _period(before[axis:], after[place:])) for place in places)


def _period(before, after):
    """Pairs of indices on the first axes of two partial shapes, over a common period."""
    if None in (*before, *after):
        return None
    periods = [math.prod(part) for part in (before, after)]
    length = math.lcm(*periods)
    if not 0 < length <= _LONGEST:
        return None
    index = np.arange(length)
    sides = zip(periods, (before, after), strict=True)
    return pairs(*(index % period // (period // part[0]) for period, part in sides))


def best(candidates):
    """The first of the relations `(axis, pairs or None)` that does not couple all channels."""
    found = [(axis, *both) for axis, both in candidates if both is not None]
    apart = [relation for relation in found if not _ties_all(*relation[1:])]
    return (apart or found or [None])[0]


def pairs(channels, others):
    """Pairs of indices that share values. None if neither index determines the other.

    If several channels share an index of `others`, each index must have equally many channels.
    """
    first = np.zeros(others.max() + 1, int)
    first[others] = channels
    if (first[others] == channels).all():
        return first, np.arange(len(first))
    second = np.zeros(channels.max() + 1, int)
    second[channels] = others
    counts = np.bincount(second)
    if (second[channels] == others).all() and (counts == counts[0]).all():
        return np.arange(len(second)), second
    return None


def _ties_all(inputs, outputs):
    return (inputs == inputs[0]).all() or (outputs == outputs[0]).all()


@register_rule(keras.layers.Flatten)
class FlattenRule(Moving):
    """Flattens in row-major order; channels-first layers move the channels to the end before."""

    def relation(self, call):
        """Channels-first layers transpose before they flatten."""
        source, (batch, *sizes) = call.inputs[0], call.inputs[0].shape
        if call.operation.data_format == "channels_last" or len(sizes) < 2:
            return super().relation(call)
        axis = source.axis
        if axis is not None:
            axis = -1 if axis == -len(sizes) else axis - 1
        return row_major((batch, *sizes[1:], sizes[0]), axis, call.outputs[0].shape)


@register_rule(keras.layers.Reshape)
class ReshapeRule(Moving):
    """Any shape; the target shape gets the number of kept channels."""

    def config(self, unit):
        config = plain_config(unit)
        relation = self.relation(unit.calls[0])
        target = list(config["target_shape"])
        if relation is not None and target[relation[0]] != -1:
            target[relation[0]] = len(unit.outputs[0].kept)
        return {**config, "target_shape": tuple(target)}


class MovedAxis(Coupled):
    """Moves the axes of channels and positions, so classes of positions do not stay the same."""

    def axis(self, call, axis, rank):
        """The output axis, counted from the front, of an axis of the input."""
        raise NotImplementedError

    def forward(self, call):
        source, size = call.inputs[0], len(call.outputs[0].shape)
        axis, rank = source.axis, len(source.shape)
        if axis is not None:
            axis = self.axis(call, axis % rank, rank) - size
        return [(axis, source.constants.flattened())]


@register_rule(keras.layers.Permute)
class PermuteRule(MovedAxis):
    """Any order of the axes after the batch."""

    def axis(self, call, axis, rank):
        """The index of the axis in the layer's `dims`, counted from one."""
        return call.operation.dims.index(axis) + 1


@register_rule(keras.layers.RepeatVector)
class RepeatVectorRule(PassThrough):
    """Repeats a vector at every step; the channels stay the last axis."""

    def axis(self, layer, rank):
        return -1
