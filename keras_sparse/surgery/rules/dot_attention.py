"""Rules of the layers `Attention` and `AdditiveAttention`."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import positions, register_rule
from keras_sparse.surgery.rules.coupled import Coupled


@register_rule(keras.layers.Attention)
class DotAttentionRule(Coupled):
    """`softmax(score(q, k)) v`; without a third tensor, `v` is also the key.

    * The output has the channels of the values. The softmax sums to one, so constants do not
      change.
    * Queries and keys have the same channels. If a channel of the key is the same at all positions,
      it adds the same to all scores of a query, which the softmax ignores. In a dot product, a
      channel that is zero in the query adds nothing.
    """

    arity = None
    makes_channels = False
    mixing = "reads another axis"

    def refuses(self, call):
        if len(call.outputs) > 1:
            return "returns its scores"
        return "is called with training=True" if call.kwargs.get("training") is True else None

    def _sides(self, call, ports):
        """`(query, value, key)`."""
        query, value, *key = ports[: len(call.args[0])]
        return query, value, *(key or [value])

    def forward(self, call):
        """The constants of the values; with a mask of the query, only zeros are constant."""
        value = call.inputs[1]
        uniform = value.constants.uniform
        if value.axis != -1:
            uniform = np.full(value.shape[-1], np.nan)
        passed = np.where(uniform == 0, 0.0, np.nan) if call.masked else uniform
        return [(-1, Constants.of(passed))]

    def silent(self, unit, query, key):
        silent = ~np.isnan(key.uniform)
        return silent | (query.uniform == 0) if unit.operation.score_mode == "dot" else silent

    def needs(self, unit):
        """Needs the channels of queries and keys that change the scores, and all of the masks."""
        call = unit.calls[0]
        if unit.alive:
            query, _, key = self._sides(call, unit.inputs)
            if self.coupling(call):
                scored = ~self.silent(unit, query.constants, key.constants)
                for port in (query, key):
                    port.need(scored, f"{unit.name} scores by it")
            for port in unit.inputs[len(call.args[0]) :]:
                port.need_all(f"mask of {unit.name}")
        super().needs(unit)

    def coupling(self, call):
        """Couples values with the output, and queries with keys."""
        query, value, key = self._sides(call, call.inputs)
        if {query.axis, value.axis, key.axis} != {-1}:
            return None
        outputs, scores = np.arange(len(value.keep)), np.arange(len(key.keep))
        return [(value, outputs, call.outputs[0], outputs), (query, scores, key, scores)]

    def macs(self, call):
        """Scores and weighted sums for each pair of positions."""
        query, value, key = self._sides(call, call.inputs)
        pairs = positions(query.shape, -1) * positions(value.shape, -1)
        return pairs * ((key.shape[-1] or 1) + (value.shape[-1] or 1))


@register_rule(keras.layers.AdditiveAttention)
class AdditiveAttentionRule(DotAttentionRule):
    """`score = sum_i scale[i] tanh(q[i] + k[i])`."""

    def silent(self, unit, query, key):
        """Channels that are constant in the key, or that are scaled by zero."""
        scale = unit.array("scale")
        silent = ~np.isnan(key.uniform)
        return silent if scale is None else silent | (scale == 0)

    def slices(self, unit):
        """`scale` has one factor for each channel of the query."""
        return {"scale": (unit.inputs[0].on(-1).kept,)}
