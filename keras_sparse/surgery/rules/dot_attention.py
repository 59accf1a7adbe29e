"""Attention without its own weights: the layers `Attention` and `AdditiveAttention`."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import positions, register_rule
from keras_sparse.surgery.rules.coupled import Coupled


@register_rule(keras.layers.Attention)
class DotAttentionRule(Coupled):
    """`softmax(score(q, k)) v`; without a third tensor `v` is the key too.

    * The values' channels are the output's. The softmax sums to one, so constants pass.
    * Queries and keys share their channels. A key's channel that is the same at all positions
      adds the same to all scores of a query, which the softmax ignores; in a dot product a query's
      channel that is zero adds nothing.
    """

    arity = None
    makes_channels = False
    mixing = "reads another axis"

    def refuses(self, call):
        if len(call.outputs) > 1:
            return "returns its scores"
        return "is called with training=True" if call.kwargs.get("training") is True else None

    def _sides(self, call, ports):
        """Query, value and key."""
        query, value, *key = ports[: len(call.args[0])]
        return query, value, *(key or [value])

    def forward(self, call):
        """The values' constants; a query's mask leaves only zeros constant."""
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
        """Queries and keys of which the scores are made; masks whole."""
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
        """Values with the output, queries with keys."""
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
        """Keys that are the same everywhere, and what is scaled by zero."""
        scale = unit.array("scale")
        silent = ~np.isnan(key.uniform)
        return silent if scale is None else silent | (scale == 0)

    def slices(self, unit):
        """One factor for each channel of the queries."""
        return {"scale": (unit.inputs[0].on(-1).kept,)}
