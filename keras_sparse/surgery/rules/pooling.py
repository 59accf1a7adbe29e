"""Rules of layers that work along positions: pooling, padding, resizing."""

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants
from keras_sparse.surgery.rules.base import channel_axis, register_rule
from keras_sparse.surgery.rules.channelwise import Beside, PassThrough

_RANKS = (1, 2, 3)


def _layers(pattern):
    names = [pattern.format(rank) for rank in _RANKS]
    return [getattr(keras.layers, name) for name in names]


class Windowed(PassThrough):
    """A layer that works on the spatial axes of `data_format`.

    Padding does not change a constant: maxima ignore it, and averages do not count it.
    """

    def axis(self, layer, rank):
        """The channel axis; 1D up-sampling and cropping support only channels last."""
        return channel_axis(getattr(layer, "data_format", "channels_last"), rank)


@register_rule(
    *_layers("AveragePooling{}D"),
    *_layers("Cropping{}D"),
    *_layers("UpSampling{}D"),
    *_layers("AdaptiveMaxPooling{}D"),
    *_layers("AdaptiveAveragePooling{}D"),
    "AdaptiveAveragePool",
    "AdaptiveMaxPool",
    "AveragePool",
)
class PoolingRule(Windowed):
    """Pooling, cropping and up-sampling: a constant does not change."""


@register_rule(*_layers("MaxPooling{}D"), "MaxPool")
class MaxPoolingRule(Windowed):
    """Max pooling; after a padding layer, a maximum may be the padded value."""

    def constants(self, call, constants):
        """The input's constants; after padding, windows with and without border are two classes."""
        padded = self._padded(call)
        if padded is None:
            return super().constants(call, constants)
        inside, value = padded.inputs[0].constants.uniform, padded.unit.rule.value(padded)
        return Constants.of([inside, np.maximum(inside, value)], call)

    def _padded(self, call):
        """The call that pads the input, if each window covers an unpadded position; else None."""
        layer, source = call.operation, call.inputs[0]
        producer = source.producer
        # Inside `TimeDistributed`, the input is a single step, not the padded tensor.
        pads = producer and producer.unit.rule.pads and source is producer.outputs[0]
        if not pads or not producer.unit.rule.beside(producer) or layer.padding != "valid":
            return None
        if self.axis(layer, len(source.shape)) != source.axis:
            return None
        if producer.unit.rule.value(producer) is None:
            return None
        widths = np.array(producer.unit.rule.widths(producer))
        spatial = np.delete(widths, [0, source.axis % len(widths)], axis=0)
        sizes = np.broadcast_to(layer.pool_size, len(spatial))
        return producer if (spatial.max(1) < sizes).all() else None


@register_rule(*_layers("GlobalAveragePooling{}D"))
class GlobalPoolingRule(Windowed):
    """Global average pooling; without `keepdims` the channels become the last axis."""

    def constants(self, call, constants):
        """The mean over positions; with a mask, only constants that are the same everywhere."""
        masked = call.masked or len(call.inputs) > 1
        return Constants.of(constants.uniform if masked else constants.mean)

    def forward(self, call):
        """As for pooling, with the channel axis of the output."""
        ((axis, constants),) = super().forward(call)
        return [(axis if call.operation.keepdims else -1, constants)]


@register_rule(*_layers("GlobalMaxPooling{}D"))
class GlobalMaxPoolingRule(GlobalPoolingRule):
    """Global max pooling."""

    def constants(self, call, constants):
        """The largest value over all positions."""
        return Constants.of(constants.largest)


class Padding(Beside):
    """Padding: a constant does not change inside; the border has the padded value."""

    mixing = "pads the channels"
    pads = True

    def widths(self, call):
        """`(before, after)` for each axis of the tensor."""
        raise NotImplementedError

    def value(self, call):
        """The padded value; None if the border is copied or computed from the tensor."""
        return 0.0

    def beside(self, call):
        axis = call.inputs[0].axis
        return axis is not None and not any(self.widths(call)[axis])

    def forward(self, call):
        """Keeps the input's classes of positions, unlike `Beside`."""
        if not self.beside(call):
            return super().forward(call)
        return [(self.place(call), self.constants(call, call.inputs[0].constants))]

    def constants(self, call, constants):
        """Adds a class of positions for the border, the same for all channels of this call."""
        if not np.any(self.widths(call)):
            return constants
        rows, value = list(constants.values), self.value(call)
        if value is not None:
            rows.append(np.where(constants.known, value, np.nan))
        return Constants.of(rows, call)


@register_rule(*_layers("ZeroPadding{}D"))
class ZeroPaddingRule(Padding):
    """Zero padding, on the spatial axes of `data_format`."""

    def widths(self, call):
        """The layer's padding, with zero widths for batch and channels."""
        layer, rank = call.operation, len(call.inputs[0].shape)
        spatial = np.reshape(layer.padding, (-1, 2)).tolist()
        axis = channel_axis(getattr(layer, "data_format", "channels_last"), rank) % rank
        return [(0, 0), *spatial[: axis - 1], (0, 0), *spatial[axis - 1 :]]


# Modes that repeat positions beyond the border, and modes that compute numbers from positions.
_REPEATING = ("circular", "edge", "reflect", "symmetric", "wrap")
_COMPUTING = ("maximum", "mean", "median", "minimum")


@register_rule("Pad")
class PadRule(Padding):
    """`keras.ops.pad`, with a value or with copies of positions."""

    def refuses(self, call):
        """Refuses padding of the batch, values that are tensors or arrays, and other modes."""
        widths, mode = call.operation.pad_width, call.operation.mode
        if len(widths) != len(call.inputs[0].shape) or any(widths[0]):
            return "pads the batch"
        if len(call.inputs) > 1 or np.ndim(self._given(call)):
            return "pads with an array"
        return None if mode in ("constant", *_REPEATING, *_COMPUTING) else f"pads by {mode}"

    def constants(self, call, constants):
        """For modes that compute numbers, only constants that are the same at all positions."""
        computed = call.operation.mode in _COMPUTING
        return super().constants(call, constants.flattened() if computed else constants)

    def _given(self, call):
        return call.args[1] if len(call.args) > 1 else call.kwargs.get("constant_values")

    def widths(self, call):
        return call.operation.pad_width

    def value(self, call):
        return float(self._given(call) or 0.0) if call.operation.mode == "constant" else None


@register_rule("Resize", keras.layers.Resizing)
class ResizeRule(Windowed):
    """Resizing: weighted means of neighbours, with padding if it keeps the aspect ratio."""

    def refuses(self, call):
        batch = len(call.inputs[0].shape) == 4
        return None if batch else "works on an image without a batch"

    def constants(self, call, constants):
        """The input's constants inside, and the padded value around them."""
        layer, uniform = call.operation, constants.uniform
        rows = [uniform]
        if layer.pad_to_aspect_ratio:
            rows.append(np.where(np.isnan(uniform), uniform, layer.fill_value))
        return Constants.of(rows, call)


@register_rule("CropImages")
class CropImagesRule(ResizeRule):
    """Cropping of images."""

    constants = Windowed.constants


@register_rule("PadImages")
class PadImagesRule(ResizeRule):
    """Zero padding of images."""

    def constants(self, call, constants):
        return Constants.of([constants.uniform, constants.uniform * 0.0], call)
