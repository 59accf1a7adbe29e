"""Layers of Keras 3, made from configs of Keras 2."""

import inspect

import keras

MODELS = ("Functional", "Model", "Sequential")

_ANY = object()

# Arguments that Keras 3 no longer has, with the value that can be dropped. `_ANY` marks arguments
# that do not change the result, and shapes, which are found again when the layer is built.
_GONE = {
    "adjustment": None,
    "batch_input_shape": _ANY,
    "dtype": _ANY,
    "force_generator": _ANY,
    "fused": _ANY,
    "groups": 1,
    "implementation": _ANY,
    "input_dim": _ANY,
    "input_length": _ANY,
    "kernel_constraint": None,
    "kernel_initializer": _ANY,
    "kernel_regularizer": None,
    "key_shape": _ANY,
    "noise_shape": None,
    "query_shape": _ANY,
    "ragged": False,
    "rng_type": _ANY,
    "softmax_robust_masking": False,
    "time_major": False,
    "trainable": _ANY,
    "value_shape": _ANY,
    "virtual_batch_size": None,
}
_RENAMED = {("LeakyReLU", "alpha"): "negative_slope"}
_ACTIVATIONS = {
    **{
        name: name for name in ("elu", "exponential", "gelu", "leaky_relu", "linear", "log_softmax")
    },
    **{name: name for name in ("mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax")},
    **{name: name for name in ("softplus", "softsign", "tanh")},
    # Names of TensorFlow's functions.
    "log_softmax_v2": "log_softmax",
    "softmax_v2": "softmax",
    "swish": "silu",
}
_REBUILD = "Rebuild the model with a function of Keras in its place, and load the weights."
_MODULES = {
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}
_ADVICE = {
    "Lambda": "it holds Python code that no other Python can run. Rebuild the model with a layer "
    "or `keras.ops` in its place, and load the weights",
    "LocallyConnected1D": "Keras 3 has no such layer. Rebuild the model without it",
    "LocallyConnected2D": "Keras 3 has no such layer. Rebuild the model without it",
    "RandomCrop": "Keras 3 does not crop at inference. Rebuild the model with `CenterCrop`",
    "TensorFlowOpLayer": "it holds a raw TensorFlow operation. Rebuild the model with a layer or "
    "`keras.ops` in its place, and load the weights",
}


@keras.saving.register_keras_serializable(package="keras_sparse")
def keras2_hard_sigmoid(x):
    """`hard_sigmoid` of Keras 2, clip(0.2·x + 0.5, 0, 1); in Keras 3 its slope is 1/6.

    Args:
        x: tensor of any shape.

    Returns:
        A tensor of the same shape.

    Example:

    >>> keras2_hard_sigmoid(keras.ops.array([-3.0, 0.0, 1.0]))
    [0.0, 0.5, 0.7]
    """
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def make_layer(entry, build_model):
    """The layer of an entry `{"class_name": ..., "config": ...}`.

    Args:
        entry: the entry.
        build_model: function from the entry of a model, which a wrapper may hold, to the model.

    Raises:
        ValueError: the entry has no clear meaning in Keras 3.
    """
    kind, name = entry["class_name"], entry["config"].get("name")
    try:
        return keras.layers.deserialize(_layer(entry, build_model))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        cause = str(error).split("Exception encountered:")[-1]
        raise ValueError(f"the layer {name!r} ({kind}): {cause.strip()}") from error


def layer_name(name):
    """A layer's name in Keras 3, which forbids slashes."""
    return name.replace("/", "_")


def _layer(entry, build_model):
    kind = entry["class_name"]
    if kind in MODELS:
        return keras.saving.serialize_keras_object(build_model(entry))
    registered = entry.get("registered_name") or kind
    if keras.saving.get_registered_object(registered) is not None:
        return {"module": None, **entry, "registered_name": registered}
    cls = getattr(keras.layers, kind, None)
    if cls is None or kind in _ADVICE:
        advice = _ADVICE.get(
            kind, "neither Keras 3 nor `custom_objects` has it. Pass its class in `custom_objects`"
        )
        raise ValueError(f"{advice}.")
    config = {
        _RENAMED.get((kind, key), key): _value(key, value, build_model)
        for key, value in entry["config"].items()
    }
    config = _known(cls, config)
    if kind == "UpSampling2D" and config.get("interpolation") in ("gaussian", "mitchellcubic"):
        raise ValueError(f"Keras 3 cannot interpolate so. {_REBUILD}")
    if "name" in config:
        config["name"] = layer_name(config["name"])
    return _builtin("keras.layers", kind, config)


def _known(cls, config):
    """`config` without the arguments that Keras 3 dropped; their values must be harmless."""
    parameters = _parameters(cls)
    for key in sorted(config.keys() - parameters):
        value = config[key]
        if key not in _GONE or _GONE[key] not in (_ANY, value):
            raise ValueError(
                f"Keras 3 has no argument {key!r} for it, and {key}={value!r} changes what it "
                "computes. Rebuild the model without it, and load the weights."
            )
    return {key: value for key, value in config.items() if key in parameters}


def _parameters(cls):
    """The arguments of a class, and those that it passes on to its base classes."""
    names = set()
    for base in cls.__mro__:
        signature = inspect.signature(base.__init__).parameters
        names |= signature.keys()
        if all(each.kind is not each.VAR_KEYWORD for each in signature.values()):
            break
    return names


def _value(key, value, build_model):
    """Translate the value of one argument, including objects inside it."""
    if key in ("activation", "recurrent_activation") and not _is_object(value):
        return _activation(value)
    if key == "axis" and isinstance(value, list) and len(value) == 1:
        return value[0]
    if isinstance(value, list):
        return [_value(None, item, build_model) for item in value]
    return _object(key, value, build_model) if _is_object(value) else value


def _is_object(value):
    return isinstance(value, dict) and "class_name" in value


def _object(key, entry, build_model):
    kind = entry["class_name"]
    if kind == "__tuple__":
        return tuple(_value(None, item, build_model) for item in entry["items"])
    config = entry["config"]
    if kind in ("__numpy__", "__tensor__"):
        return config["value"]
    if kind == "function":
        return _activation(config)
    if kind == "Policy":
        return config["name"]
    return _part(key, entry, build_model)


def _part(key, entry, build_model):
    """Make a layer, initializer, regularizer or constraint that is an argument of a layer."""
    kind, config = entry["class_name"], entry["config"]
    if keras.saving.get_registered_object(entry.get("registered_name") or kind) is not None:
        return entry
    role = str(key).rpartition("_")[2]
    if role not in _MODULES:
        return _layer(entry, build_model)
    cls = getattr(_MODULES[role], kind, None)
    if cls is None:
        raise ValueError(f"its {key} {kind} is not in Keras 3. Pass its class in `custom_objects`.")
    # Older versions also saved a dtype and axes, which are not needed.
    config = {name: value for name, value in config.items() if name in _parameters(cls)}
    return _builtin(f"keras.{role}s", kind, config)


def _activation(name):
    if not isinstance(name, str):
        raise ValueError(f"its activation is Python code that no other Python can run. {_REBUILD}")
    if keras.saving.get_registered_object(name) is not None:
        return {"module": None, "class_name": "function", "config": name, "registered_name": name}
    if name == "hard_sigmoid":
        return keras.saving.serialize_keras_object(keras2_hard_sigmoid)
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"its activation {name!r} is not in Keras 3. Pass the function in `custom_objects`."
        )
    return _ACTIVATIONS[name]


def _builtin(module, kind, config):
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}
