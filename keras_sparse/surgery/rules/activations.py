"""Rules of activations, dropout and `Rescaling`, and helpers for activation arguments."""

import functools

import keras
import numpy as np

from keras_sparse.surgery.constants import Constants, array_row
from keras_sparse.surgery.rules.base import part_of, plain_config, register_rule, registered
from keras_sparse.surgery.rules.channelwise import Elementwise, PassThrough
from keras_sparse.surgery.tracing import nodes_between

_MIXING = ("softmax", "log_softmax", "sparsemax", "glu")
_ELEMENTWISE = frozenset(
    getattr(keras.activations, name)
    for name in dir(keras.activations)
    if name not in (*_MIXING, "serialize", "deserialize", "get") and not name.startswith("_")
)
_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)


def mixes_channels(activation):
    """Whether an output channel of an activation may depend on several input channels."""
    if activation is None or isinstance(activation, _LAYERS):
        return False
    if isinstance(activation, keras.layers.Activation):
        return mixes_channels(activation.activation)
    try:
        return activation not in _ELEMENTWISE and not _is_entrywise(activation)
    except TypeError:  # unhashable, so none of Keras' functions
        return True


def why_mixed(activation):
    """Why channels after an activation are not known to be constant, or None."""
    if not mixes_channels(activation):
        return None
    name = getattr(activation, "__name__", type(activation).__name__)
    return f"{name} mixes channels, or may do so"


@functools.lru_cache(maxsize=256)
def _is_entrywise(function):
    """Whether a user's function consists of elementwise functions only.

    The function is traced, and compared with its trace on random numbers.
    """
    x = keras.Input(batch_shape=(2, 7))
    try:
        y = function(x)
        nodes = nodes_between([id(x)], [y])
        if y.shape != x.shape or not all(map(_treats_entries, nodes)):
            return False
        numbers = np.random.default_rng(0).standard_normal((2, 7)) * 3
        numbers = keras.ops.convert_to_tensor(numbers, x.dtype)
        wanted, got = function(numbers), keras.Function(x, y)(numbers)
        return bool(keras.ops.all(keras.ops.isclose(wanted, got)))
    except Exception:
        return False


def _treats_entries(node):
    """Whether a call is elementwise, with one tensor and otherwise numbers as operands."""
    rule = registered(node.operation)
    leaves = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    others = [leaf for leaf in leaves if not isinstance(leaf, keras.KerasTensor)]
    plain = all(leaf is None or isinstance(leaf, (bool, int, float, str)) for leaf in others)
    return plain and not node.is_input and getattr(rule, "entrywise", False)


def activate(activation, values, dtype):
    """Applies an activation to an array of constants, in the layer's precision."""
    if activation is None or activation is keras.activations.linear:
        return values
    output = activation(keras.ops.convert_to_tensor(values, dtype))
    return keras.ops.convert_to_numpy(output).astype(np.float64)


@register_rule(keras.layers.Activation)
class ActivationRule(Elementwise):
    """The rule of elementwise activations."""

    def refuses(self, call):
        """Refuses softmax and other functions that are not elementwise."""
        return why_mixed(call.operation.activation)


@register_rule(keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU)
class ActivationLayerRule(Elementwise):
    """The rule of activations with their own layer."""


@register_rule(
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
)
class IdentityRule(PassThrough):
    """The identity, at inference."""

    def refuses(self, call):
        pinned = call.kwargs.get("training") is True
        return "is called with training=True" if pinned else None

    def constants(self, call, constants):
        return constants


@register_rule(keras.layers.Dropout, keras.layers.AlphaDropout)
class DropoutRule(IdentityRule):
    """Dropout, whose random numbers may have a shape of their own."""

    def config(self, unit):
        """The config; a shape of random numbers gets the number of kept channels."""
        config, source = plain_config(unit), unit.inputs[0]
        if config.get("noise_shape") and source.axis is not None:
            shape = list(config["noise_shape"])
            if shape[source.axis] not in (None, 1):
                shape[source.axis] = len(unit.outputs[0].kept)
            config["noise_shape"] = tuple(shape)
        return config


@register_rule(keras.layers.PReLU)
class PReLURule(Elementwise):
    """`x` if positive, else `alpha x`; alpha may differ by channel and by position."""

    channel_weights = ("alpha",)

    def constants(self, call, constants):
        """A negative constant becomes unknown if its slopes differ by position."""
        source = call.inputs[0]
        if source.axis is None:
            return Constants.unknown(1)
        alpha = array_row(call.unit.array("alpha"), source.axis)[0]
        values = constants.flattened().values
        return Constants.of(np.where(values >= 0, values, alpha * values))


@register_rule(keras.layers.Rescaling)
class RescalingRule(Elementwise):
    """`scale * x + offset`, with numbers or with an entry for each channel."""

    def refuses(self, call):
        """Refuses arrays with several axes, and lists if channels are not the last axis."""
        layer = call.operation
        if max(np.ndim(layer.scale), np.ndim(layer.offset)) > 1:
            return "has a scale or offset of several axes"
        first = keras.config.image_data_format() == "channels_first"
        return "has a list for channels first" if first and self.axis(layer, 0) else None

    def axis(self, layer, rank):
        """The last axis, if there is an entry for each channel."""
        return -1 if max(np.size(layer.scale), np.size(layer.offset)) > 1 else None

    def config(self, unit):
        config = super().config(unit)
        for key in ("scale", "offset"):
            part = part_of(getattr(unit.operation, key), unit.outputs[0].kept)
            config[key] = keras.saving.serialize_keras_object(part)
        return config
