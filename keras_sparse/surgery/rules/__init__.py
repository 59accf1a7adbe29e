"""The rules, one small class for each family of layers."""

from keras_sparse.surgery.rules import (  # noqa: F401 - importing a module registers its rules
    activations,
    attention,
    cells,
    contractions,
    conv_recurrent,
    depthwise,
    dot_attention,
    einsum,
    embedding,
    fused_attention,
    grouped,
    hidden,
    keras_hub,
    linear,
    masking,
    merging,
    normalization,
    operations,
    pooling,
    products,
    rearranging,
    recurrent,
    separable,
    shaping,
    splitting,
    stand_ins,
    subscripts,
    taking,
    time_distributed,
)
from keras_sparse.surgery.rules.base import AtInference, Rule, Unsupported, register_rule
from keras_sparse.surgery.rules.base import registered as registered
from keras_sparse.surgery.rules.base import rule_for as rule_for
from keras_sparse.surgery.rules.channelwise import Elementwise, PassThrough
from keras_sparse.surgery.rules.hidden import HiddenUnits
from keras_sparse.surgery.rules.linear import Linear

__all__ = [
    "AtInference",
    "Elementwise",
    "HiddenUnits",
    "Linear",
    "PassThrough",
    "Rule",
    "Unsupported",
    "register_rule",
    "rule_for",
]
