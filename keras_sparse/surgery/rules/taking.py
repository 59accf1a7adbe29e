"""Nodes made by `keras.ops` that take part of a tensor."""

import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    Rule,
    default_axis,
    default_size,
    reasons_behind,
    register_rule,
)
from keras_sparse.surgery.rules.shaping import MovedAxis
from keras_sparse.surgery.units import Value


@register_rule("Take")
class TakeRule(MovedAxis):
    """Entries along another axis than the channels', by indices that may be computed."""

    def _along(self, call):
        axis = call.operation.axis
        return None if axis is None else axis % len(call.inputs[0].shape)

    def refuses(self, call):
        """A table that is an array, the channels themselves, and the batch."""
        source = call.inputs[0]
        if len(call.args) != 2 or source is not call.args[0]:
            return "looks up what is no tensor"
        along = self._along(call)
        if along is None or (source.axis is not None and along == source.axis + len(source.shape)):
            return "takes channels"
        producer = source.producer
        weight = producer is not None and getattr(producer.unit.rule, "stands_in", False)
        return None if along or weight else "takes part of the batch"

    def axis(self, call, axis, rank):
        indices = call.args[1]
        added = (len(indices.shape) if isinstance(indices, Value) else np.ndim(indices)) - 1
        return axis + added if axis > self._along(call) else axis


@register_rule("GetItem")
class GetItemRule(Rule):
    """Slices and indices on other axes than the channels, or a run of channels."""

    def _key(self, call):
        """A number, a slice or None (a new axis) for each axis; None if it is not plain."""
        key = call.args[1] if len(call.args) > 1 else call.kwargs.get("key")
        key = list(key) if isinstance(key, (tuple, list)) else [key]
        plain = all(k is None or k is Ellipsis or type(k) in (int, slice) for k in key)
        if not plain:
            return None
        missing = len(call.inputs[0].shape) - sum(k is not None and k is not Ellipsis for k in key)
        place = next((i for i, k in enumerate(key) if k is Ellipsis), len(key))
        key[place : place + 1] = [slice(None)] * missing
        return key

    def _axes(self, call):
        """`{axis of the input: (its place in the key, axis of the output or None)}`."""
        key = self._key(call)
        places = [i for i, k in enumerate(key) if k is not None]
        kept = [i for i, k in enumerate(key) if type(k) is not int]
        return {
            axis - len(places): (i, kept.index(i) - len(kept) if i in kept else None)
            for axis, i in enumerate(places)
        }

    def refuses(self, call):
        key = self._key(call) if len(call.inputs) == 1 else None
        if key is None:
            return "has keys other than numbers and slices"
        return None if key[0] == slice(None) else "takes part of the batch"

    def _channels(self, call):
        """Indices that a slice takes of the channels, and the output's axis; None if it is none."""
        source = call.inputs[0]
        if source.axis is None:
            return None
        place, axis = self._axes(call)[source.axis]
        key = self._key(call)[place]
        if axis is None or key.step not in (None, 1):
            return None
        return np.arange(source.shape[source.axis])[key], axis

    def forward(self, call):
        source, out = call.inputs[0], call.outputs[0]
        taken = self._channels(call)
        if taken is None or not len(taken[0]):
            return [(default_axis(out), Constants.unknown(default_size(out)))]
        return [(taken[1], source.constants.flattened().take(taken[0]))]

    def needs(self, unit):
        """The channels that are taken; others may go or stay, the slice is made again."""
        source, target = unit.inputs[0], unit.outputs[0]
        if not target.keep.any():
            return
        taken = self._channels(unit.calls[0])
        if taken is None or not len(taken[0]):
            source.need_all(f"{unit.name} takes one channel")
            target.need_all(f"{unit.name} takes one channel")
            return
        channels = taken[0]
        need, why = np.zeros(source.size, bool), np.full(source.size, "", object)
        need[channels] = target.keep
        why[channels] = reasons_behind(source, target, of=channels)
        source.need(need, why)
        target.need(source.keep[channels], source.why[channels])

    def coupled_channels(self, call):
        taken = self._channels(call)
        if taken is None or not len(taken[0]):
            return []
        return [(call.inputs[0], taken[0], call.outputs[0], np.arange(len(taken[0])))]

    def apply(self, call, make, read):
        """The slice of the kept channels that holds the kept channels of the old slice."""
        source = call.inputs[0]
        taken = self._channels(call)
        if taken is None or len(taken[0]) == source.shape[source.axis]:
            return super().apply(call, make, read)
        kept = source.keep
        places = (np.cumsum(kept) - 1)[taken[0][kept[taken[0]]]]
        key = self._key(call)
        key[self._axes(call)[source.axis][0]] = slice(int(places[0]), int(places[-1]) + 1)
        return make()(read(source), tuple(key))
