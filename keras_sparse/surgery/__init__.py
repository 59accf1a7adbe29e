"""Removing dead channels from a model without changing its outputs."""

from keras_sparse import _renamed
from keras_sparse.surgery.coupling import ChannelGroup, WeightSlice, channel_groups
from keras_sparse.surgery.group_zeroing import zero_groups
from keras_sparse.surgery.groups import GroupReport
from keras_sparse.surgery.macs import Macs, count_macs
from keras_sparse.surgery.outputs import output_layers
from keras_sparse.surgery.removal import remove_dead_channels
from keras_sparse.surgery.report import DeadKept, LayerReport, Report
from keras_sparse.surgery.rules import (
    AtInference,
    Elementwise,
    HiddenUnits,
    Linear,
    PassThrough,
    Rule,
    Unsupported,
    register_rule,
)
from keras_sparse.surgery.slots import slice_optimizer
from keras_sparse.surgery.zeroing import ZeroedReport, zero_channels

__all__ = [
    "AtInference",
    "ChannelGroup",
    "DeadKept",
    "Elementwise",
    "GroupReport",
    "HiddenUnits",
    "LayerReport",
    "Linear",
    "Macs",
    "PassThrough",
    "Report",
    "Rule",
    "Unsupported",
    "WeightSlice",
    "ZeroedReport",
    "channel_groups",
    "count_macs",
    "output_layers",
    "register_rule",
    "remove_dead_channels",
    "slice_optimizer",
    "zero_channels",
    "zero_groups",
]

__getattr__ = _renamed.module_getattr(__name__, {"Opaque": "Unsupported", "Passing": "PassThrough"})
