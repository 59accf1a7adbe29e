"""The rule of `Masking`."""

import keras

from keras_sparse.surgery.rules.base import register_rule
from keras_sparse.surgery.rules.normalization import NormRule


@register_rule(keras.layers.Masking)
class MaskingRule(NormRule):
    """`Masking` masks positions where all channels are zero; a zero channel has no influence."""

    def refuses(self, call):
        value = call.operation.mask_value
        return None if value == 0 else f"masks what is {value}"
