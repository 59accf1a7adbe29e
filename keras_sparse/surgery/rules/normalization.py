"""Rules of normalisations."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import (
    Rule,
    Unsupported,
    in_step,
    part_of,
    plain_config,
    register_rule,
)
from keras_sparse.surgery.rules.channelwise import Elementwise
from keras_sparse.surgery.rules.coupled import Coupled


@register_rule(keras.layers.BatchNormalization)
class BatchNormalizationRule(Elementwise):
    """At inference scales and shifts each channel: `gamma (x - mean) / deviation + beta`."""

    channel_weights = (
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
        "moving_stddev",
        "renorm_mean",
        "renorm_stddev",
    )
    scale = "gamma"

    def refuses(self, call):
        """Refuses `training=True`: outputs then depend on the batch."""
        pinned = call.kwargs.get("training") is True
        return "is called with training=True" if pinned else None

    def axis(self, layer, rank):
        return layer.axis % rank - rank

    def evaluate(self, call, values):
        array, layer = call.unit.array, call.operation
        gamma, beta = array("gamma"), array("beta")
        deviation = np.sqrt(array("moving_variance").astype(np.float64) + layer.epsilon)
        output = (values - array("moving_mean")) / deviation
        output = output if gamma is None else output * gamma
        return output if beta is None else output + beta


@register_rule("BatchNorm")
class BatchNormOperationRule(Elementwise):
    """`keras.ops.batch_normalization` with arrays: mean, variance, offset and scale."""

    def refuses(self, call):
        """Refuses statistics that are computed or trained, and normalisation over the batch."""
        if len(call.inputs) > 1:
            return "has statistics that are computed"
        if any(isinstance(x, keras.Variable) for x in call.args):
            return "reads a variable that belongs to no layer"
        batch = call.operation.axis % len(call.inputs[0].shape) == 0
        return "normalises the batch" if batch else None

    def axis(self, layer, rank):
        return layer.axis % rank - rank

    def factor(self, call):
        scale = (*call.args, None, None)[4]
        return None if scale is None else keras.ops.convert_to_numpy(scale)

    def apply(self, call, make, read):
        kept = call.unit.outputs[0].kept
        arrays = [x if x is None else keras.ops.convert_to_numpy(x)[kept] for x in call.args[1:]]
        return make()(read(call.inputs[0]), *arrays)


@register_rule(keras.layers.Normalization)
class NormalizationRule(Elementwise):
    """`(x - mean) / deviation`, with statistics that are adapted to data or given."""

    channel_weights = ("mean", "variance")

    def refuses(self, call):
        axes = call.operation.axis
        plain = not axes or (len(axes) == 1 and axes[0] % len(call.inputs[0].shape))
        return None if plain else "has statistics for several axes, or for the batch"

    def axis(self, layer, rank):
        """The layer's axis, counted from the end; None if there is one mean for all channels."""
        return layer.axis[0] % rank - rank if layer.axis else None

    def config(self, unit):
        config = plain_config(unit)
        for key in ("mean", "variance"):
            config[key] = part_of(getattr(unit.operation, f"input_{key}"), unit.outputs[0].kept)
        return config


@register_rule(keras.layers.LayerNormalization)
class LayerNormalizationRule(Unsupported):
    """All channels stay, because they enter mean and variance; with gamma zero, they are beta."""

    makes_channels = False

    def forward(self, call):
        ((axis, constants),) = super().forward(call)
        gamma, beta = call.unit.array("gamma"), call.unit.array("beta")
        rank = len(call.inputs[0].shape)
        last = [a % rank for a in np.atleast_1d(call.operation.axis)] == [rank - 1]
        if axis != -1 or not last or gamma is None or gamma.shape != constants.values.shape[1:]:
            return [(axis, constants)]
        left = np.zeros(gamma.shape) if beta is None else beta.astype(np.float64)
        return [(axis, Constants.of(np.where(gamma == 0, left, np.nan)))]


class NormRule(Coupled):
    """Divides by a norm over the channels: zeros do not change it, but other constants do."""

    makes_channels = False
    mixing = Elementwise.mixing

    def refuses(self, call):
        axes = np.atleast_1d(call.operation.axis)
        rank = len(call.inputs[0].shape)
        return None if len(axes) == 1 and axes[0] % rank == rank - 1 else "mixes positions"

    def forward(self, call):
        source = call.inputs[0]
        uniform = source.constants.uniform
        if source.axis != -1:
            uniform = np.full(source.shape[-1], np.nan)
        return [(-1, Constants.of(np.where(uniform == 0, 0.0, np.nan)))]

    def needs(self, unit):
        source = unit.inputs[0]
        if unit.alive:
            source.need(source.constants.uniform != 0, f"{unit.name} takes a norm over channels")
        super().needs(unit)

    def coupling(self, call):
        return in_step(call) if call.inputs[0].axis == -1 else None


@register_rule(keras.layers.UnitNormalization)
class UnitNormalizationRule(NormRule):
    """`x / |x|`."""


@register_rule(keras.layers.RMSNormalization)
class RMSNormalizationRule(NormRule):
    """`scale * x / sqrt(sum x^2 / C + epsilon)`.

    If C' of C channels are kept, `sum / C + epsilon = C'/C (sum / C' + epsilon C / C')`.
    """

    def _ratio(self, unit):
        return unit.outputs[0].size / len(unit.outputs[0].kept)

    def config(self, unit):
        config = plain_config(unit)
        return {**config, "epsilon": config["epsilon"] * self._ratio(unit)}

    def slices(self, unit):
        return {"scale": (unit.outputs[0].kept,)}

    def fold(self, unit, weights):
        if self._ratio(unit) != 1:
            weights["scale"] = weights["scale"].astype(np.float64) * np.sqrt(self._ratio(unit))


@register_rule(keras.layers.GroupNormalization)
class GroupNormalizationRule(Rule):
    """Statistics over groups of channels: a group is kept or removed as a whole.

    With a group for each channel (instance normalisation), each channel is kept or removed alone.
    """

    makes_channels = False

    def _axis(self, layer, rank):
        return layer.axis % rank - rank

    def forward(self, call):
        """A channel is constant only if its whole group is, or if gamma is zero."""
        source, layer, array = call.inputs[0], call.operation, call.unit.array
        axis = self._axis(layer, len(source.shape))
        size = source.shape[axis]
        uniform = source.constants.uniform if source.axis == axis else np.full(size, np.nan)
        groups = uniform.reshape(layer.groups, -1)
        centred = groups - groups.mean(1, keepdims=True)
        deviation = np.sqrt(groups.var(1, keepdims=True) + layer.epsilon)
        values = (centred / deviation).reshape(-1)
        gamma, beta = array("gamma"), array("beta")
        if gamma is not None:
            values = np.where(gamma == 0, 0.0, values * gamma)
        return [(axis, Constants.of(values if beta is None else values + beta))]

    def needs(self, unit):
        layer, target = unit.operation, unit.outputs[0]
        if not target.keep.any():
            return
        source = unit.inputs[0].on(self._axis(layer, len(target.shape)))
        both = (source.keep | target.keep).reshape(layer.groups, -1)
        whole = np.repeat(both.any(1), both.shape[1])
        for port in (source, target):
            reasons = np.where(target.keep, target.why, f"{unit.name}: alive in its group")
            port.need(whole, reasons)

    def coupled_channels(self, call):
        """Couples channel by channel, and all channels of a group with its first."""
        pairs = in_step(call)
        for value, channels, target, _ in list(pairs):
            size = len(channels) // call.operation.groups
            pairs.append((value, channels // size * size, target, channels))
        return pairs

    def config(self, unit):
        groups = unit.outputs[0].keep.reshape(unit.operation.groups, -1).any(1)
        return {**plain_config(unit), "groups": int(groups.sum())}

    def slices(self, unit):
        kept = (unit.outputs[0].kept,)
        return {"gamma": kept, "beta": kept}


@register_rule("LayerScale")
class LayerScaleRule(Elementwise):
    """ConvNeXt's trained factor for each channel; a factor of zero makes the channel zero."""

    channel_weights = ("gamma",)
    scale = "gamma"

    def config(self, unit):
        return {**super().config(unit), "projection_dim": len(unit.outputs[0].kept)}
