"""The rule of `keras.ops.dot_product_attention`."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import Rule, register_rule
from keras_sparse.surgery.rules.places import constants_along, silent_between
from keras_sparse.surgery.units import Value

# Keras' value for a masked score, as a fraction of the largest number.
_MASKED = -0.7


@register_rule("DotProductAttention")
class DotProductAttentionRule(Rule):
    """`softmax(scale q k^T + bias) v` of tensors `(batch, positions, heads, channels)`.

    * The output has the channels of the values. The softmax sums to one, so constants do not
      change.
    * Queries and keys have the same channels. A channel that is zero in either adds nothing to the
      scores. If a channel of the key is the same at all positions, the softmax ignores it.
    """

    arity = None
    makes_channels = False

    def refuses(self, call):
        tensors = len(call.args) == 3 and all(isinstance(value, Value) for value in call.args)
        if not tensors or len(set(call.args)) != 3:
            return "attends to other than three tensors"
        query, _, value = call.args
        return None if query.shape[-1] == value.shape[-1] else "has values of another width"

    def _capped(self, call):
        return getattr(call.operation, "attn_logits_soft_cap", None) is not None

    def forward(self, call):
        value = call.args[2]
        if value.axis != -1:
            return [(-1, Constants.unknown(call.outputs[0].shape[-1]))]
        return [(-1, value.constants.flattened())]

    def places(self, call, axis):
        """The constants of the values in each head, as in `constants_along`."""
        value, heads = call.args[2], call.outputs[0].shape[-2]
        if axis != -2 or value.axis != -1 or None in (heads, value.shape[-2]):
            return None
        return np.repeat(constants_along(value, -2), heads // value.shape[-2], axis=0)

    def _silent(self, call):
        query, key = call.args[:2]
        letters = ("btnh", "bsnh", "bnts")
        if query.shape[-2] != key.shape[-2]:
            letters = ("btnh", "bsmh", "bnts")
        return silent_between(query, key, letters, None if self._capped(call) else {"s"})

    def needs(self, unit):
        call, target = unit.calls[0], unit.outputs[0]
        if not target.keep.any():
            return
        query, key, value = (port.on(-1) for port in unit.inputs[:3])
        value.need(target.keep, target.why)
        target.need(value.keep, value.why)
        followed = not (query.whole or key.whole)
        scored = ~self._silent(call) if followed else np.ones(query.size, bool)
        for port, other in ((query, key), (key, query)):
            port.need(scored, f"{unit.name} scores by it")
            port.need(other.keep, other.why)
        for port in unit.inputs[3:]:
            port.need_all(f"argument of {unit.name}")

    def resolve(self, unit):
        """Makes keys and values equally wide, if `apply` has to call the operation itself."""
        call = unit.calls[0]
        if not (call.operation.is_causal or self._capped(call)):
            return
        _, key, value = (port.on(-1) for port in unit.inputs[:3])
        for port, other in ((key, value), (value, key)):
            missing = np.flatnonzero(~port.keep)[: max(0, len(other.kept) - len(port.kept))]
            extra = np.isin(np.arange(port.size), missing)
            port.need(extra, f"{unit.name}: its keys are as wide as its values")

    def coupled_channels(self, call):
        query, key, value = call.args
        scores, outputs = np.arange(len(key.keep)), np.arange(len(value.keep))
        pairs = [(value, outputs, call.outputs[0], outputs)] if value.axis == -1 else []
        return pairs + ([(query, scores, key, scores)] if query.axis == key.axis == -1 else [])

    def config(self, unit):
        operation = unit.operation
        return {
            "name": operation.name,
            "is_causal": operation.is_causal,
            "flash_attention": operation.flash_attention,
            "attn_logits_soft_cap": operation.attn_logits_soft_cap,
        }

    def apply(self, call, make, read):
        """Calls the operation with its old scale; other operations if keys have another width."""
        args, kwargs = call.arguments(read)
        before = call.args[0].shape[-1]
        if args[0].shape[-1] != before and kwargs.get("scale") is None:
            kwargs["scale"] = before**-0.5
        if args[1].shape[-1] == args[2].shape[-1]:
            return make()(*args, **kwargs)
        return _attention(*args, **kwargs)

    def macs(self, call):
        """Scores and weighted sums for each pair of positions."""
        query, key, value = call.args
        pairs = (query.shape[1] or 1) * (key.shape[1] or 1) * (query.shape[2] or 1)
        return pairs * ((key.shape[-1] or 1) + (value.shape[-1] or 1))


def _attention(query, key, value, bias=None, mask=None, scale=None):
    """`keras.ops.dot_product_attention`, for keys and values of any width."""
    groups = query.shape[-2] // key.shape[-2]
    if groups > 1:
        key, value = (keras.ops.repeat(x, groups, axis=-2) for x in (key, value))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    scores = keras.ops.einsum("btnh,bsnh->bnts", query, key)
    dtype = scores.dtype if scores.dtype == "float64" else "float32"
    scores = keras.ops.cast(scores, dtype) * scale
    if bias is not None:
        scores = scores + keras.ops.cast(bias, dtype)
    if mask is not None:
        masked = _MASKED * float(np.finfo(dtype).max)
        scores = keras.ops.where(keras.ops.cast(mask, "bool"), scores, masked)
    weights = keras.ops.cast(keras.ops.softmax(scores, axis=-1), value.dtype)
    return keras.ops.einsum("bnts,bsnh->btnh", weights, value)
