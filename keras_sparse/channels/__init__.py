"""Criteria for dead channels."""

from keras_sparse.channels.activations import activations
from keras_sparse.channels.activity import APoZ, LargestActivation, Selectivity
from keras_sparse.channels.adam import alpha_lambda_over_epsilon, settling_limit
from keras_sparse.channels.criteria import BatchNormScale, ChannelCriterion, IncomingNorm
from keras_sparse.channels.dead import DeadChannels, Gap, gap, layer_gaps
from keras_sparse.channels.norms import channel_norms, channel_weight, layers_with_channels
from keras_sparse.channels.record import EpochRecord, log10_scores

__all__ = [
    "APoZ",
    "BatchNormScale",
    "ChannelCriterion",
    "DeadChannels",
    "EpochRecord",
    "Gap",
    "IncomingNorm",
    "LargestActivation",
    "Selectivity",
    "activations",
    "alpha_lambda_over_epsilon",
    "channel_norms",
    "channel_weight",
    "gap",
    "layer_gaps",
    "layers_with_channels",
    "log10_scores",
    "settling_limit",
]
