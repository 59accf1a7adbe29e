"""Attention without its own weights: the layers `Attention` and `AdditiveAttention`."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import Rule, positions, register_rule


@register_rule(keras.layers.Attention)
class DotAttentionRule(Rule):
    """`softmax(score(q, k)) v`; without a third tensor `v` is the key too.

    * The values' channels are the output's. The softmax sums to one, so constants pass.
    * Queries and keys share their channels. A key's channel that is the same at all positions
      adds the same to all scores of a query, which the softmax ignores; in a dot product a query's
      channel that is zero adds nothing.
    """

    arity = None
    makes_channels = False

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
        """Values with the output, queries with keys; masks whole."""
        call, target = unit.calls[0], unit.outputs[0]
        if not target.keep.any():
            return
        query, value, key = (port.on(-1) for port in self._sides(call, unit.inputs))
        value.need(target.keep, target.why)
        target.need(value.keep, value.why)
        scored = ~self.silent(unit, query.constants, key.constants)
        for port, other in ((query, key), (key, query)):
            port.need(scored, f"{unit.name} scores by it")
            port.need(other.keep, other.why)
        for port in unit.inputs[len(call.args[0]) :]:
            port.need_all(f"mask of {unit.name}")

    def coupled_channels(self, call):
        query, value, key = self._sides(call, call.inputs)
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
