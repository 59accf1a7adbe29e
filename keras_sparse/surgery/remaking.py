"""Decides for one layer whether it stays as it is, or makes it again with fewer channels."""

import contextlib
import types

import keras

from keras_sparse.surgery import copying
from keras_sparse.surgery.messages import short
from keras_sparse.surgery.rules import Rule, Unsupported
from keras_sparse.surgery.slices import slice_array
from keras_sparse.surgery.units import weights_by_name
from keras_sparse.variables import layers_of_type


class NotRemadeError(Exception):
    """A layer has to change, but cannot be made again.

    Attributes:
        unit: its `Unit`.
        reason: a short sentence for the report.
    """

    def __init__(self, unit, error):
        super().__init__(unit.name)
        self.unit = unit
        self.reason = f"cannot be made again ({short(error, 160)})"


@contextlib.contextmanager
def making(unit):
    """Turns errors in the block into a `NotRemadeError`; the unit then stays whole."""
    try:
        yield
    except Exception as error:
        raise NotRemadeError(unit, error) from error


def check_count(result, call):
    """Raises a `ValueError` if a call returned more or fewer tensors than before."""
    count = len(keras.tree.flatten(result))
    if count != len(call.outputs):
        raise ValueError(f"`apply` of its rule gave {count} tensors for {len(call.outputs)}")


def paired_weights(unit, layer):
    """Two dicts of weights, of a unit's layer and of the new layer, with the same names as keys.

    Raises:
        ValueError: the weights differ by more than biases that a rule has switched on.
    """
    olds = weights_by_name(unit.operation)
    news = weights_by_name(layer)
    alike = list(map(_last, olds)) == list(map(_last, news)) or unit.rule.stands_in
    if len(olds) == len(news) and alike:
        # Inner layers may have other numbers in their names.
        return olds, dict(zip(olds, news.values(), strict=True))
    missing = [name for name in olds if name not in news]
    surplus = [name for name in news if name not in olds and "bias" not in _last(name)]
    if missing or surplus:
        raise ValueError(
            f"{called(unit)} was made again from its config with other weights: {missing} are "
            f"missing, {surplus} are new. Let `get_config` return all arguments of `__init__`, and "
            "name the weights alike, whatever their sizes."
        )
    return olds, news


def weights_in_order(unit, layer):
    """As `paired_weights`, for a new layer with the same config.

    Raises:
        ValueError: their shapes differ.
    """
    olds = weights_by_name(unit.operation)
    shapes = [[tuple(w.shape) for w in weights] for weights in (olds.values(), layer.weights)]
    if shapes[0] != shapes[1]:
        raise ValueError("its config gives a layer with other weights")
    return olds, dict(zip(olds, layer.weights, strict=True))


def _last(name):
    return name.rsplit("/", 1)[-1]


def called(unit):
    """The name of a unit in error messages."""
    return f"The layer {unit.name!r} ({type(unit.operation).__name__})"


def keeps_everything(unit):
    """Whether the layer has the same channels, weights and arguments as before."""
    rule = unit.rule
    if type(rule) is Unsupported:
        return True
    if not all(port.keep.all() for port in unit.inputs + unit.outputs):
        return False
    for name, indices in rule.slices(unit).items():
        array = unit.array(name)
        if array is not None and slice_array(array, indices).shape != array.shape:
            return False
    own = own_config(unit)
    return own is None or repr(rule.config(unit)) == repr(own)


def own_config(unit):
    """The layer's unchanged config, None if it has none."""
    try:
        return unit.operation.get_config()
    except Exception:
        return None


def config_of(unit):
    """The config that the rule returns; None if the layer has none and does not have to change."""
    try:
        return unit.rule.config(unit)
    except Exception:
        if _may_be_twin(unit):
            return None
        raise


def remade(unit, config, name):
    """The layer made from its new config; a twin if it has none and does not have to change."""
    operation = unit.operation
    if unit.rule.stands_in:
        return unit.rule.remake(unit, {**config, "name": name})
    try:
        if config is not None:
            return without_initializers(operation, {**config, "name": name})
    except Exception:
        if not _may_be_twin(unit):
            raise
    return copying.twin(operation, name)


def _may_be_twin(unit):
    """Whether no weight and no argument of the layer depends on the number of channels."""
    own = type(unit.rule).config is not Rule.config
    return not own and not getattr(unit.operation, "variables", None)


def is_of_keras(operation):
    """Whether a layer and its inner layers are Keras' own, which have complete configs."""
    parts = layers_of_type(operation, keras.Layer)
    return all(type(part).__module__.startswith("keras.") for part in parts)


def without_initializers(operation, config):
    """Makes the layer from its config, without random weights: they are overwritten anyway."""
    of_keras = type(operation).__module__.startswith("keras.")
    drawn = [key for key in config if of_keras and key.endswith("_initializer")]
    drawn = [key for key in drawn if key in vars(operation)]
    config = {**config, **dict.fromkeys(drawn, "zeros")}
    if of_keras and isinstance(getattr(operation, "activation", None), types.FunctionType):
        # The user's own function need not be registered with Keras.
        config["activation"] = operation.activation
    return type(operation).from_config(config)
