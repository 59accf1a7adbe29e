"""The rules, one small class for each family of layers."""

from keras_sparse.surgery.rules import (  # noqa: F401 - importing a module registers its rules
    activations,
    attention,
    depthwise,
    dot_attention,
    einsum,
    embedding,
    grouped,
    hidden,
    keras_hub,
    linear,
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
    time_distributed,
)
from keras_sparse.surgery.rules.base import Elementwise, Opaque, Passing, Rule, register_rule
from keras_sparse.surgery.rules.base import has_rule as has_rule
from keras_sparse.surgery.rules.base import rule_for as rule_for
from keras_sparse.surgery.rules.hidden import HiddenUnits
from keras_sparse.surgery.rules.linear import Linear

__all__ = [
    "Elementwise",
    "HiddenUnits",
    "Linear",
    "Opaque",
    "Passing",
    "Rule",
    "register_rule",
    "rule_for",
]
