"""Normalisations."""

import keras
import numpy as np

from keras_sparse.surgery.rules.base import Elementwise, Opaque, register_rule


@register_rule(keras.layers.BatchNormalization)
class BatchNormalizationRule(Elementwise):
    """At inference a scale and a shift of each channel: `gamma (x - mean) / deviation + beta`."""

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
        """Batch statistics make a channel depend on the batch."""
        pinned = call.kwargs.get("training") is True
        return "is called with training=True" if pinned else None

    def axis(self, layer, rank):
        """The layer's own, counted from the end."""
        return layer.axis % rank - rank

    def evaluate(self, call, values):
        """The formula, in float64."""
        array, layer = call.unit.array, call.operation
        gamma, beta = array("gamma"), array("beta")
        deviation = np.sqrt(array("moving_variance").astype(np.float64) + layer.epsilon)
        output = (values - array("moving_mean")) / deviation
        output = output if gamma is None else output * gamma
        return output if beta is None else output + beta


@register_rule(
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
    keras.layers.RMSNormalization,
    keras.layers.Softmax,
)
class MixingRule(Opaque):
    """Statistics over channels: each channel enters those of the others."""


@register_rule("LayerScale")
class LayerScaleRule(Elementwise):
    """ConvNeXt's learnt factor for each channel; zero kills the channel."""

    channel_weights = ("gamma",)
    scale = "gamma"

    def config(self, unit):
        """As many factors as channels are left."""
        return {**super().config(unit), "projection_dim": len(unit.outputs[0].kept)}
