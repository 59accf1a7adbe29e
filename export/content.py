"""Checks of the content of a TFLite file, without running it."""

import re

import numpy as np

from export.errors import ExportError
from export.inputs import open_input_specs
from export.integers import check_int8
from export.kinds import kind_of
from export.tflite_file import Runner, flex_operators, operators

# If a model is converted with the wrong trackable object, the file has these operators instead of
# its weights. It loads, but reads memory that was never written.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")


def check_content(model, path, quantize=None, sparse_encoding=False, input_output=None):
    """Counts the operators of a file; an ExportError if its content cannot be right."""
    counts = operators(path)
    if any(name.startswith("Flex") for name in counts):
        raise ExportError(flex_refusal(path, model, flex_operators(path)))
    variable = sorted(name for name in counts if name in VARIABLE_OPERATORS)
    if variable:
        raise ExportError(
            f"{path} keeps variables in place of constants: {', '.join(variable)}. Models that "
            "change their state when called cannot be converted."
        )
    kind = kind_of(quantize)
    _check_size(model, path, kind.weight_bytes, sparse_encoding)
    if kind.calibrated:
        check_int8(path)
        if input_output is not None:
            _check_ends(model, path, input_output)
    return counts


def _check_ends(model, path, input_output):
    import keras

    specs = keras.tree.flatten(open_input_specs(model))
    ends = (("input", specs), ("output", getattr(model, "outputs", None) or []))
    for (what, own), dtypes in zip(ends, Runner(path).dtypes, strict=True):
        # Inputs that are integers in Keras, such as indices or pixels, stay integers.
        others = {tensor.dtype for tensor in own if "float" not in tensor.dtype}
        for name, dtype in dtypes.items():
            if dtype not in {input_output, "int32", "int64", "bool", *others}:
                raise ExportError(
                    f"{path} was to have the {what} {name!r} in {input_output}, and has it in "
                    f"{dtype}."
                )


def flex_refusal(path, model, found):
    """The error message that names the layers that need TensorFlow's operators.

    Args:
        path: the file.
        model: the `keras.Model`.
        found: the result of `flex_operators`.
    """
    named = []
    for name, tensor in found:
        layer = _layer_of(model, tensor)
        named.append(f"{name} (layer {layer.name!r})" if layer else f"{name} ({tensor!r})")
    return (
        f"{path} needs TensorFlow itself to run: {', '.join(dict.fromkeys(named))}. LiteRT has no "
        "such operators; replace the layers that use them."
    )


def _layer_of(model, tensor):
    """The innermost layer in a tensor's name, which may end in `_1`; or None."""
    from keras_sparse._keras import flatten_layers

    layers = {layer.name: layer for layer in flatten_layers(model, include_self=False)}
    for part in reversed(tensor.split(";")[0].split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return layers[name]
    return None


def _check_size(model, path, weight_bytes, sparse_encoding):
    import keras

    # Equal tensors are stored once, so only distinct tensors are counted.
    distinct = {}
    for weight in model.weights:
        value = keras.ops.convert_to_numpy(weight)
        distinct[value.tobytes()] = np.count_nonzero(value) if sparse_encoding else value.size
    expected = weight_bytes * sum(distinct.values())
    size = path.stat().st_size
    if 2 * size < expected:
        raise ExportError(
            f"{path} has {size} bytes, the weights of the Keras model {expected}: weights are "
            "missing from the file."
        )
