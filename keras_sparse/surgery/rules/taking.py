"""Rules of `keras.ops` and subscripts that take part of a tensor."""

import numpy as np

from keras_sparse.surgery.rules.base import nothing_known, register_rule
from keras_sparse.surgery.rules.coupled import Coupled
from keras_sparse.surgery.rules.shaping import MovedAxis
from keras_sparse.surgery.units import Value


@register_rule("Take")
class TakeRule(MovedAxis):
    """Takes entries by indices; channels by an array only, along other axes also by a tensor."""

    mixing = "takes channels"

    def _along(self, call):
        axis = call.operation.axis
        return None if axis is None else axis % len(call.inputs[0].shape)

    def refuses(self, call):
        """Refuses tables that are arrays, and taking from the batch."""
        source = call.inputs[0]
        if len(call.args) != 2 or source is not call.args[0]:
            return "looks up what is no tensor"
        along = self._along(call)
        if along is None:
            return "takes from all axes at once"
        producer = source.producer
        weight = producer is not None and getattr(producer.unit.rule, "stands_in", False)
        return None if along or weight else "takes part of the batch"

    def axis(self, call, axis, rank):
        indices = call.args[1]
        added = (len(indices.shape) if isinstance(indices, Value) else np.ndim(indices)) - 1
        return axis + added if axis > self._along(call) else axis

    def _of_channels(self, call):
        source = call.inputs[0]
        return source.axis is not None and self._along(call) == source.axis + len(source.shape)

    def _taken(self, call):
        """Indices of the taken channels; None if they are not known."""
        indices, size = call.args[1], len(call.inputs[0].constants.known)
        if isinstance(indices, Value) or np.ndim(indices) != 1:
            return None
        indices = np.asarray(indices)
        inside = ((-size <= indices) & (indices < size)).all()
        return indices % size if inside else None

    def forward(self, call):
        if not self._of_channels(call):
            return super().forward(call)
        source, taken = call.inputs[0], self._taken(call)
        if taken is None:
            return nothing_known(call)
        return [(source.axis, source.constants.flattened().take(taken))]

    def coupling(self, call):
        if not self._of_channels(call):
            return super().coupling(call)
        taken = self._taken(call)
        if taken is None:
            return None
        return [(call.inputs[0], taken, call.outputs[0], np.arange(len(taken)))]

    def apply(self, call, make, read):
        """Takes the kept channels by their new indices."""
        source = call.inputs[0]
        taken = self._taken(call) if self._of_channels(call) else None
        if taken is None:
            return super().apply(call, make, read)
        places = np.cumsum(source.keep) - 1
        return make()(read(source), places[taken[source.keep[taken]]])


@register_rule("GetItem")
class GetItemRule(Coupled):
    """Slices and indices on axes other than the channels, or a slice of channels."""

    mixing = "takes one channel"

    def _key(self, call):
        """An int, a slice or None (a new axis) for each axis; None if there are other keys."""
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
        """Indices of the taken channels, and their axis in the output; None if there is none."""
        source = call.inputs[0]
        if source.axis is None:
            return None
        place, axis = self._axes(call)[source.axis]
        key = self._key(call)[place]
        if axis is None or key.step not in (None, 1):
            return None
        channels = np.arange(source.shape[source.axis])[key]
        return (channels, axis) if len(channels) else None

    def forward(self, call):
        taken = self._channels(call)
        if taken is None:
            return nothing_known(call)
        return [(taken[1], call.inputs[0].constants.flattened().take(taken[0]))]

    def coupling(self, call):
        """Couples the taken channels; others are free, because the slice is made again."""
        taken = self._channels(call)
        if taken is None:
            return None
        return [(call.inputs[0], taken[0], call.outputs[0], np.arange(len(taken[0])))]

    def apply(self, call, make, read):
        """Slices the kept channels of the old slice out of all kept channels."""
        source = call.inputs[0]
        taken = self._channels(call)
        if taken is None or len(taken[0]) == source.shape[source.axis]:
            return super().apply(call, make, read)
        kept = source.keep
        places = (np.cumsum(kept) - 1)[taken[0][kept[taken[0]]]]
        key = self._key(call)
        key[self._axes(call)[source.axis][0]] = slice(int(places[0]), int(places[-1]) + 1)
        return make()(read(source), tuple(key))
