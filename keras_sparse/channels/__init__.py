"""Which output channels of a layer are dead, and how that is known."""

from keras_sparse.channels.activations import activations
from keras_sparse.channels.activity import APoZ, LargestActivation, Selectivity
from keras_sparse.channels.criteria import BatchNormScale, ChannelCriterion, IncomingNorm
from keras_sparse.channels.dead import DeadChannels, Gap, gap, layer_gaps
from keras_sparse.channels.norms import channel_norms, channel_weight, layers_with_channels

__all__ = [
    "APoZ",
    "BatchNormScale",
    "ChannelCriterion",
    "DeadChannels",
    "Gap",
    "IncomingNorm",
    "LargestActivation",
    "Selectivity",
    "activations",
    "channel_norms",
    "channel_weight",
    "gap",
    "layer_gaps",
    "layers_with_channels",
]
