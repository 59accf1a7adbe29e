"""A copy of a mixed-precision model in float32."""

import keras

from keras_sparse.cloning import uncompiled_clone
from keras_sparse.variables import layers_of_type

_HALF = ("mixed_float16", "mixed_bfloat16")
_HALF_INPUTS = ("float16", "bfloat16")


def in_float32(model):
    """The model if it computes in float32, otherwise a copy in float32 with its weights.

    For layers in half precision the converter writes TensorFlow ("Flex") operators, which LiteRT
    does not run.

    Args:
        model: a built `keras.Model`; it is not changed.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: layers in half precision that cannot be rebuilt: of a subclassed model, or with
            a dtype policy other than `mixed_float16` and `mixed_bfloat16`.
    """
    half = _layers_in_half_precision(model)
    if not half:
        return model
    policy = keras.config.dtype_policy()
    # Layers made inside other layers get the global policy.
    keras.config.set_dtype_policy("float32")
    try:
        copy = uncompiled_clone(model, _rebuild, _float32_inputs(model))
        copy.set_weights(model.get_weights())
        half = _layers_in_half_precision(copy)
    except (ValueError, NotImplementedError, TypeError) as error:
        raise ValueError(f"{_advice(half)} {str(error)[:200]}") from error
    finally:
        keras.config.set_dtype_policy(policy)
    if half:
        raise ValueError(_advice(half))
    return copy


def _layers_in_half_precision(model):
    return [
        layer
        for layer in layers_of_type(model, keras.Layer)
        if "float" in layer.compute_dtype and layer.compute_dtype != "float32"
    ]


def _advice(half):
    return (
        f"`model` must compute in float32; layer {half[0].name!r} computes in "
        f"{half[0].compute_dtype} and cannot be rebuilt. Build the model again with the dtype "
        "policy 'float32' and copy the weights: new_model.set_weights(model.get_weights())."
    )


def _float32_inputs(model):
    """Inputs for the copy; None if the model has none in half precision.

    Keras gives the input of a Sequential model without `Input` the precision of its first layer.
    """
    if not any(tensor.dtype in _HALF_INPUTS for tensor in getattr(model, "inputs", None) or ()):
        return None
    return keras.tree.map_structure(
        lambda x: keras.Input(
            batch_shape=x.shape,
            dtype="float32" if x.dtype in _HALF_INPUTS else x.dtype,
            name=x.name,
        ),
        model.inputs[0] if isinstance(model, keras.Sequential) else model.input,
    )


def _rebuild(layer):
    # A functional model's graph also holds plain operations, which have no precision.
    if not isinstance(layer, keras.Layer):
        return layer
    return type(layer).from_config(_with_float32(layer.get_config()))


def _with_float32(config):
    """A layer's config with every mixed policy replaced, also in nested layers."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"]["name"] in _HALF:
            return "float32"
        if config.get("class_name") == "InputLayer" and config["config"]["dtype"] in _HALF_INPUTS:
            return {**config, "config": {**config["config"], "dtype": "float32"}}
        return {key: _with_float32(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(map(_with_float32, config))
    return "float32" if config in _HALF else config
