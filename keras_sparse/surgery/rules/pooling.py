"""Pooling, cropping, up-sampling: a constant map stays the constant it is."""

import keras

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import Passing, channel_axis, register_rule

_RANKS = (1, 2, 3)


def _layers(pattern):
    names = [pattern.format(rank) for rank in _RANKS]
    return [getattr(keras.layers, name) for name in names]


class Windowed(Passing):
    """Works on the spatial axes of `data_format`.

    Padding does not touch a constant: maxima ignore it, averages do not count it.
    """

    def axis(self, layer, rank):
        """By `data_format`; one-dimensional up-sampling and cropping know only channels last."""
        return channel_axis(getattr(layer, "data_format", "channels_last"), rank)


@register_rule(
    *_layers("MaxPooling{}D"),
    *_layers("AveragePooling{}D"),
    *_layers("Cropping{}D"),
    *_layers("UpSampling{}D"),
    *_layers("AdaptiveMaxPooling{}D"),
    *_layers("AdaptiveAveragePooling{}D"),
)
class PoolingRule(Windowed):
    """A window at a time."""


@register_rule(*_layers("GlobalMaxPooling{}D"), *_layers("GlobalAveragePooling{}D"))
class GlobalPoolingRule(Windowed):
    """All positions at once, which moves the channel axis unless `keepdims`."""

    def forward(self, call):
        """As for pooling, on the axis that the channels have in the output."""
        ((axis, constants),) = super().forward(call)
        return [(axis if call.operation.keepdims else -1, constants)]


@register_rule(*_layers("ZeroPadding{}D"))
class ZeroPaddingRule(Windowed):
    """A constant becomes a map of two values: itself inside, zero under the padding."""

    def forward(self, call):
        """Two classes of positions, the same for all channels of this call."""
        ((axis, constants),) = super().forward(call)
        rows = constants.uniform
        return [(axis, Constants.of([rows, rows * 0.0], call))]
