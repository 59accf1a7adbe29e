"""Rules of multi-head attention, for its inputs, outputs, heads and head widths."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.attention_widths import (
    Gather,
    common_width,
    kept_positions,
    level,
    score_scale,
)
from keras_sparse.surgery.rules.base import Rule, in_step, plain_config, positions, register_rule
from keras_sparse.surgery.units import Value

_SIDES = ("query", "key", "value")


class Attention(Rule):
    """`(gate * softmax(scale q k^T) v) W_o`, with projections `(inputs, heads, width)`.

    The gate is optional. It is a sigmoid of a projection of the query input.

    * A constant input is folded into the projection's bias.
    * The softmax sums to one, so a constant dimension of `v` is folded into the output bias. With a
      gate, only zeros can be removed. With a mask, the sum is zero at positions where all is
      masked. One constant dimension of each head, the carrier, then stays and represents the head's
      other constant dimensions.
    * Adding the same number to the scores of all keys does not change the softmax, so a constant
      dimension of `k` can be removed. So can a dimension in which `q` or `k` is zero.
    * A head can be removed if nothing reads its values, or if they are all constant.

    All heads have the same width: the largest that any head needs. Dimensions that are kept only
    for this do not change the result.
    """

    arity = None
    # Whether keys and values have the same width.
    one_width = False

    def heads(self, layer):
        """`(heads of the queries, heads of keys and values)`."""
        raise NotImplementedError

    def refuses(self, call):
        """Refuses scores as an output, `training=True`, and outputs with several channel axes."""
        if len(call.outputs) > 1 or call.kwargs.get("return_attention_scores"):
            return "returns its scores"
        if call.kwargs.get("training") is True:
            return "is called with training=True"
        if len({tuple(self.arguments(other)) for other in call.unit.calls}) > 1:
            return "is called in different ways"
        sides = call.unit.array("attention_output/kernel")
        if sides is None or sides.ndim != 3:
            return "has an output of several axes"
        return None

    def arguments(self, call):
        """Names of the tensors among the arguments, in the order of the call's inputs."""
        names = [*zip(("query", "value", "key"), call.args, strict=False)]
        names += sorted(call.kwargs.items())
        return [name for name, value in names if isinstance(value, Value)]

    def sides(self, unit):
        """The ports of query, key and value, on their last axes."""
        names = self.arguments(unit.calls[0])
        key = "key" if "key" in names else "value"
        return [unit.inputs[names.index(name)].on(-1) for name in ("query", key, "value")]

    def forward(self, call):
        """Outputs are constant if they read only constant dimensions of `v`."""
        source = call.inputs[self.arguments(call).index("value")]
        constants = source.constants.uniform if source.axis == -1 else None
        values = self._passing(call.unit, self._projected(call.unit, "value", constants))
        out = call.unit.array("attention_output/kernel")
        groups = out.shape[0] // values.shape[0]
        values = np.repeat(values, groups, axis=0)
        live = np.isnan(values)
        dead = ~(out[live] != 0).any(0)
        bias = self._bias(call.unit, "attention_output", out.shape[-1:])
        result = np.einsum("hd,hdo->o", np.nan_to_num(values), out.astype(np.float64)) + bias
        return [(-1, Constants.of(np.where(dead, result, np.nan)))]

    def _passing(self, unit, values):
        """The constants of `v` that are constant after softmax and gate, NaN for others."""
        zeros_only = self._gated(unit) or self._masked(unit)
        return np.where(values == 0, 0.0, np.nan) if zeros_only else values

    def _gated(self, unit):
        return unit.array("gate/kernel") is not None

    def _masked(self, unit):
        """Whether there may be a position that attends to nothing."""
        names = {name for call in unit.calls for name in self.arguments(call)}
        return any(call.masked for call in unit.calls) or not names.issubset(_SIDES)

    def _carriers(self, unit, values):
        """For each head, the dimension that represents other constant ones, -1 for none."""
        size = np.abs(np.nan_to_num(values))
        some = self._masked(unit) & ~self._gated(unit) & (size > 0).any(1)
        return np.where(some, size.argmax(1), -1)

    def _needed_values(self, unit, values):
        """`(heads, width)`: the dimensions of `v` that no bias and no carrier can replace."""
        needed = np.isnan(self._passing(unit, values))
        carriers = self._carriers(unit, values)
        for head in np.flatnonzero(carriers >= 0):
            needed[head] = np.isnan(values[head])
            needed[head, carriers[head]] = True
        return needed

    def _bias(self, unit, name, shape):
        bias = unit.array(f"{name}/bias")
        return np.zeros(shape) if bias is None else bias.astype(np.float64)

    def _projected(self, unit, side, constants):
        """`(heads, width)`: the constants of a projection; NaN if it depends on the input."""
        kernel = unit.array(f"{side}/kernel")
        if constants is None:
            constants = np.full(len(kernel), np.nan)
        known = ~np.isnan(constants)
        live = (kernel[~known] != 0).any(0)
        values = np.einsum("k,khd->hd", constants[known], kernel[known].astype(np.float64))
        return np.where(live, np.nan, values + self._bias(unit, side, kernel.shape[1:]))

    def projected(self, unit):
        """Constants of the three projections by side."""
        return {
            side: self._projected(unit, side, port.constants.uniform)
            for side, port in zip(_SIDES, self.sides(unit), strict=True)
        }

    def widths(self, unit):
        """`(scores, values)`: kept dimensions of `q` and `k`, and of `v`, `(kv heads, width)`."""
        notes = unit.notes.setdefault("widths", {})
        key = unit.outputs[0].keep.tobytes()
        if key not in notes:
            notes.clear()
            notes[key] = self._find_widths(unit)
        return notes[key]

    def _find_widths(self, unit):
        heads, kv_heads = self.heads(unit.operation)
        constants = self.projected(unit)
        values = self._read(unit) & self._needed_values(unit, self._read_constants(unit))
        queries = constants["query"].reshape(kv_heads, heads // kv_heads, -1)
        scores = np.isnan(constants["key"]) & ~(queries == 0).all(1)
        left = values.any(1)
        if not left.any():
            left[0] = True
        # JAX's attention needs the same width for keys and values too.
        alike = scores.shape == values.shape and keras.backend.backend() == "jax"
        alike = alike or self.one_width
        width = common_width([scores, values], left) if alike else 1
        return tuple(level(kept, left, width) for kept in (scores, values))

    def _read(self, unit):
        """`(heads, width)`: the dimensions of `v` that kept outputs read."""
        heads, kv_heads = self.heads(unit.operation)
        out = unit.array("attention_output/kernel")[..., unit.outputs[0].keep]
        return (out != 0).any(-1).reshape(kv_heads, heads // kv_heads, -1).any(1)

    def _read_constants(self, unit):
        """The constants of `v`; zero if nothing reads them."""
        return np.where(self._read(unit), self.projected(unit)["value"], 0.0)

    def inner_channels(self, unit):
        """One channel for each head of keys and values, with its query heads."""
        heads, kv_heads = self.heads(unit.operation)
        kv = np.arange(kv_heads)
        queries = np.repeat(kv, heads // kv_heads)
        axes = []
        for side, rows in (("query", queries), ("key", kv), ("value", kv), ("gate", queries)):
            axes += [(f"{side}/kernel", 1, rows), (f"{side}/bias", 0, rows)]
        axes.append(("attention_output/kernel", 0, queries))
        known = [entry for entry in axes if unit.array(entry[0]) is not None]
        return [("heads", kv_heads, known)]

    def needs(self, unit):
        """Needs inputs that a kept dimension of their projection reads and no bias can replace."""
        if not unit.alive:
            return
        scores, values = self.widths(unit)
        heads, kv_heads = self.heads(unit.operation)
        queries = np.repeat(scores, heads // kv_heads, axis=0)
        for side, port, kept in zip(
            _SIDES, self.sides(unit), (queries, scores, values), strict=True
        ):
            read = (unit.array(f"{side}/kernel")[:, kept] != 0).any(1)
            if side == "query" and unit.array("gate/kernel") is not None:
                gates = np.repeat(values, heads // kv_heads, axis=0)
                read |= (unit.array("gate/kernel")[:, gates] != 0).any(1)
            port.need(read & np.isnan(port.constants.uniform), f"{unit.name} reads it")
        for name, port in zip(self.arguments(unit.calls[0]), unit.inputs, strict=True):
            if name not in _SIDES:
                port.need_all(f"{name} of {unit.name}")

    # Rebuilding.

    def _indices(self, unit):
        """Kept heads of queries and of keys, and the kept dimensions of each kept head."""
        heads, kv_heads = self.heads(unit.operation)
        scores, values = self.widths(unit)
        kv = np.flatnonzero(values.any(1) | scores.any(1))
        groups = heads // kv_heads
        queries = (kv[:, None] * groups + np.arange(groups)).reshape(-1)
        return queries, kv, kept_positions(scores[kv]), kept_positions(values[kv])

    def slices(self, unit):
        """Slices heads and dimensions of each projection, and inputs and outputs of the layer."""
        queries, kv, scores, values = self._indices(unit)
        groups = len(queries) // len(kv)
        plan = {
            "query": (queries, np.repeat(scores, groups, axis=0)),
            "key": (kv, scores),
            "value": (kv, values),
            "gate": (queries, np.repeat(values, groups, axis=0)),
        }
        slices = {}
        query, *others = self.sides(unit)
        for (side, (rows, dims)), port in zip(plan.items(), (query, *others, query), strict=True):
            inputs = port.kept
            slices[f"{side}/kernel"] = Gather(inputs, rows, dims)
            slices[f"{side}/bias"] = Gather(None, rows, dims)
        out = unit.outputs[0].kept
        dims = np.repeat(values, groups, axis=0)
        slices["attention_output/kernel"] = lambda kernel: kernel[queries[:, None], dims][..., out]
        slices["attention_output/bias"] = (out,)
        return slices

    def _corrections(self, unit):
        """`{projection: sum to add to its bias}` of removed constants; only outputs are sliced."""
        found = {}
        query, *others = self.sides(unit)
        for side, port in zip((*_SIDES, "gate"), (query, *others, query), strict=True):
            if unit.array(f"{side}/kernel") is None:
                continue
            uniform = np.where(port.keep, 0.0, np.nan_to_num(port.constants.uniform))
            kernel = unit.array(f"{side}/kernel").astype(np.float64)
            found[side] = np.einsum("k,khd->hd", uniform, kernel)
        heads, kv_heads = self.heads(unit.operation)
        constants = np.nan_to_num(self.projected(unit)["value"])
        dropped = np.where(self.widths(unit)[1], 0.0, constants)
        dropped[self._carriers(unit, self._read_constants(unit)) >= 0] = 0.0
        dropped = np.repeat(dropped, heads // kv_heads, axis=0)
        kernel = unit.array("attention_output/kernel")[..., unit.outputs[0].kept]
        found["attention_output"] = np.einsum("hd,hdo->o", dropped, kernel.astype(np.float64))
        return found

    def fold(self, unit, weights):
        """Folds constants into the biases, and scales queries for the new width."""
        scores = self._indices(unit)[2]
        slices = self.slices(unit)
        for side, correction in self._corrections(unit).items():
            cut = slices[f"{side}/bias"]
            extra = correction if side == "attention_output" else cut(correction)
            if extra.any():
                weights[f"{side}/bias"] = weights[f"{side}/bias"].astype(np.float64) + extra
        self._merge(unit, weights, slices["attention_output/kernel"])
        before = unit.array("query/kernel").shape[-1]
        if scores.shape[1] != before:
            for name in ("query/kernel", "query/bias"):
                if name in weights:
                    scaled = weights[name].astype(np.float64)
                    weights[name] = scaled * score_scale(before) / score_scale(scores.shape[1])

    def _merge(self, unit, weights, cut):
        """Adds the rows of removed dimensions to the row of their carrier."""
        values = self._read_constants(unit)
        carriers = self._carriers(unit, values)
        dropped = np.where(self.widths(unit)[1], 0.0, np.nan_to_num(values))
        if not dropped[carriers >= 0].any():
            return
        kernel = unit.array("attention_output/kernel").astype(np.float64)
        groups = len(kernel) // len(values)
        for head in np.flatnonzero(carriers >= 0):
            factors = dropped[head] / values[head, carriers[head]]
            rows = slice(head * groups, (head + 1) * groups)
            kernel[rows, carriers[head]] += np.einsum("d,gdo->go", factors, kernel[rows])
        weights["attention_output/kernel"] = cut(kernel)

    def config(self, unit):
        """The config, with biases if a constant is folded into them."""
        config = plain_config(unit)
        corrections = self._corrections(unit).values()
        config["use_bias"] = config["use_bias"] or any(c.any() for c in corrections)
        return config

    def macs(self, call):
        """Counts the projections, and scores and weighted sums for each pair of positions."""
        layer = call.operation
        kernels = {w.path.split("/")[-2]: w for w in layer.weights if w.path.endswith("kernel")}
        sides = dict(zip(("query", "value"), call.args, strict=False)) | call.kwargs
        queries = positions(sides["query"].shape, -1)
        keys = positions(sides["value"].shape, -1)
        counts = {"query": queries, "key": keys, "value": keys, "attention_output": queries}
        total = sum(
            int(np.prod(w.shape)) * counts.get(name, queries) for name, w in kernels.items()
        )
        heads = kernels["query"].shape[1]
        widths = kernels["query"].shape[-1] + kernels["value"].shape[-1]
        return total + queries * keys * heads * widths


@register_rule(keras.layers.MultiHeadAttention)
class MultiHeadAttentionRule(Attention):
    """Each head has its own keys and values."""

    def heads(self, layer):
        return layer.num_heads, layer.num_heads

    def config(self, unit):
        """The config with heads, widths and output channels, which may differ from the query's."""
        queries, _, scores, values = self._indices(unit)
        return {
            **super().config(unit),
            "num_heads": len(queries),
            "key_dim": scores.shape[1],
            "value_dim": values.shape[1],
            "output_shape": (len(unit.outputs[0].kept),),
        }


@register_rule(keras.layers.GroupQueryAttention)
class GroupQueryAttentionRule(Attention):
    """Several heads of queries share a head of keys and values; all have one width.

    The output is as wide as the query, so both keep the same channels.
    """

    one_width = True

    def heads(self, layer):
        return layer.num_query_heads, layer.num_key_value_heads

    def needs(self, unit):
        super().needs(unit)
        query, target = self.sides(unit)[0], unit.outputs[0]
        if target.keep.any():
            query.need(target.keep, f"{unit.name}: its output is as wide as its query")
            target.need(query.keep, f"{unit.name}: its output is as wide as its query")

    def resolve(self, unit):
        query, _, value = self.sides(unit)
        for port, other in ((query, value), (value, query)):
            missing = np.flatnonzero(~port.keep)[: max(0, len(other.kept) - len(port.kept))]
            extra = np.isin(np.arange(port.size), missing)
            port.need(extra, f"{unit.name}: its value is as wide as its query")

    def coupled_channels(self, call):
        return in_step(call)[:1]

    def removed_together(self, call):
        """Couples value and query, because Keras requires equal widths."""
        names = self.arguments(call)
        query, value = (call.inputs[names.index(name)] for name in ("query", "value"))
        every = np.arange(len(query.keep))
        return [(query, every, value, every)]

    def config(self, unit):
        queries, kv, scores, _ = self._indices(unit)
        return {
            **super().config(unit),
            "head_dim": scores.shape[1],
            "num_query_heads": len(queries),
            "num_key_value_heads": len(kv),
        }
