"""What works along positions: pooling, padding, resizing; a constant map stays what it is."""

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
    """Works on the spatial axes of `data_format`.

    Padding does not touch a constant: maxima ignore it, averages do not count it.
    """

    def axis(self, layer, rank):
        """By `data_format`; one-dimensional up-sampling and cropping know only channels last."""
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
    """A window at a time."""


@register_rule(*_layers("MaxPooling{}D"), "MaxPool")
class MaxPoolingRule(Windowed):
    """The largest value of a window; behind padding that of the window or of the border."""

    def constants(self, call, constants):
        """The input's; behind padding two classes of positions, with the border or without."""
        padded = self._padded(call)
        if padded is None:
            return super().constants(call, constants)
        inside, value = padded.inputs[0].constants.uniform, padded.unit.rule.value(padded)
        return Constants.of([inside, np.maximum(inside, value)], call)

    def _padded(self, call):
        """The call that pads this one's input, if each window has a position inside of it."""
        layer, source = call.operation, call.inputs[0]
        producer = source.producer
        # A step of `TimeDistributed` is not what is padded.
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
    """All positions at once, which moves the channel axis unless `keepdims`."""

    def constants(self, call, constants):
        """The mean of those that depend on the position; a mask leaves some positions out."""
        masked = call.masked or len(call.inputs) > 1
        return Constants.of(constants.uniform if masked else constants.mean)

    def forward(self, call):
        """As for pooling, on the axis that the channels have in the output."""
        ((axis, constants),) = super().forward(call)
        return [(axis if call.operation.keepdims else -1, constants)]


@register_rule(*_layers("GlobalMaxPooling{}D"))
class GlobalMaxPoolingRule(GlobalPoolingRule):
    """The largest of all positions."""

    def constants(self, call, constants):
        """The largest of those that depend on the position."""
        return Constants.of(constants.largest)


class Padding(Beside):
    """A value around each channel: a constant is itself inside, the value outside."""

    mixing = "pads the channels"
    pads = True

    def widths(self, call):
        """`(before, after)` for each axis of the tensor."""
        raise NotImplementedError

    def value(self, call):
        """What is padded with; None if it is what is there already."""
        return 0.0

    def beside(self, call):
        axis = call.inputs[0].axis
        return axis is not None and not any(self.widths(call)[axis])

    def forward(self, call):
        """The classes of positions of the input stay apart."""
        if not self.beside(call):
            return super().forward(call)
        return [(self.place(call), self.constants(call, call.inputs[0].constants))]

    def constants(self, call, constants):
        """One more class of positions, the same for all channels of this call."""
        if not np.any(self.widths(call)):
            return constants
        rows, value = list(constants.values), self.value(call)
        if value is not None:
            rows.append(np.where(constants.known, value, np.nan))
        return Constants.of(rows, call)


@register_rule(*_layers("ZeroPadding{}D"))
class ZeroPaddingRule(Padding):
    """Zeros, on the spatial axes of `data_format`."""

    def widths(self, call):
        """The layer's, and none for batch and channels."""
        layer, rank = call.operation, len(call.inputs[0].shape)
        spatial = np.reshape(layer.padding, (-1, 2)).tolist()
        axis = channel_axis(getattr(layer, "data_format", "channels_last"), rank) % rank
        return [(0, 0), *spatial[: axis - 1], (0, 0), *spatial[axis - 1 :]]


# What repeats positions beyond the border, and what puts numbers there that it computes from them.
_REPEATING = ("circular", "edge", "reflect", "symmetric", "wrap")
_COMPUTING = ("maximum", "mean", "median", "minimum")


@register_rule("Pad")
class PadRule(Padding):
    """A value, or what is there already."""

    def refuses(self, call):
        """Padding of the batch, values that are tensors or arrays, modes that ramp."""
        widths, mode = call.operation.pad_width, call.operation.mode
        if len(widths) != len(call.inputs[0].shape) or any(widths[0]):
            return "pads the batch"
        if len(call.inputs) > 1 or np.ndim(self._given(call)):
            return "pads with an array"
        return None if mode in ("constant", *_REPEATING, *_COMPUTING) else f"pads by {mode}"

    def constants(self, call, constants):
        """Numbers that are computed channel by channel are those of no class of positions."""
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
    """Means of neighbours; where the aspect ratio is kept by padding, a value around them."""

    def refuses(self, call):
        batch = len(call.inputs[0].shape) == 4
        return None if batch else "works on an image without a batch"

    def constants(self, call, constants):
        """The input's inside, the padding's value around it."""
        layer, uniform = call.operation, constants.uniform
        rows = [uniform]
        if layer.pad_to_aspect_ratio:
            rows.append(np.where(np.isnan(uniform), uniform, layer.fill_value))
        return Constants.of(rows, call)


@register_rule("CropImages")
class CropImagesRule(ResizeRule):
    """Part of the positions."""

    constants = Windowed.constants


@register_rule("PadImages")
class PadImagesRule(ResizeRule):
    """Zeros around the image."""

    def constants(self, call, constants):
        return Constants.of([constants.uniform, constants.uniform * 0.0], call)
