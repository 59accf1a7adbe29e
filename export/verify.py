"""Checks that a TFLite file computes what its Keras model computes."""

import contextlib
import dataclasses
import os
import pathlib
import re
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from export.compare import compare
from export.errors import ExportError
from export.inputs import DRAWN_SIZE, check_samples, draw_samples, open_input_specs
from export.integers import about_a_wide_range, check_int8, float_operators, widest_range
from export.kinds import KINDS, Tolerance, is_limit, kind_of
from export.names import by_name, gives_dict
from export.tflite_file import Runner, flex_operators, operators
from export.verification import Verification

if TYPE_CHECKING:
    import keras

# Converted with the wrong trackable object, a file holds these in place of its weights, loads and
# computes garbage from memory that was never written.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
_KERAS_BATCH = 32
_OPEN_SIZES = (DRAWN_SIZE, 16, 8, 4, 1)


def verify(
    model: "keras.Model",
    path: str | os.PathLike,
    *,
    quantize: Literal["float16", "dynamic", "int8"] | None = None,
    sparse_encoding: bool = False,
    input_output: str | None = None,
    samples: Any = None,
    labels: Any = None,
    tolerance: Tolerance | float | None = None,
) -> Verification:
    """Checks that a TFLite file computes what a Keras model computes.

    The file must hold no TensorFlow ("Flex") and no variable operators, be at least half as large
    as the model's weights are in its kind of numbers, compute in int8 if that is its kind, load in
    LiteRT, and give the model's outputs, in each column of their last axis. A NaN or an infinity,
    on either side, is a failure. Inputs and outputs that are integers in the file are scaled as
    the file says; outputs that are integers in Keras must be equal.

    Args:
        model: the built `keras.Model`, on the TensorFlow backend.
        path: the `.tflite` file, of any fixed batch size.
        quantize: the kind of the file: None, `"float16"`, `"dynamic"` or `"int8"`.
        sparse_encoding: True if zeros were left out of the file.
        input_output: for `"int8"`, the numbers that the file was to take and give, `"float32"`,
            `"int8"` or `"uint8"`. With None, any.
        samples: what `model.predict` takes: an array of shape `(n, ...)`, or a list, tuple or dict
            by name of them for several inputs; all are run. Or a `tf.data.Dataset`, a
            `keras.utils.PyDataset`, a generator, a list of batches, or a function that returns one
            of these; its targets are ignored. Real data are a better check. With None, random
            samples are drawn with a fixed seed: standard normal for floats, and for integers the
            values that the model's layers take, such as the ids of an embedding, or else 0 or 1.
            Then agreement is reported but not required.
        labels: integer classes of shape `(n,)` of the samples, for a model with one output of one
            value per class. Then the accuracies are compared too.
        tolerance: a `Tolerance`, or a number for its `error` alone. Default: that of the
            kind in `export.kinds`: error 1e-4 in float32, 0.01 with float16, 0.3 with
            int8 and dynamic.

    Returns:
        A `Verification`.

    Raises:
        ValueError: a bad argument.
        ExportError: the file fails, with the reason.

    Example:

    >>> verify(model, "model.tflite", samples=x_test[:100]).max_relative_error < 1e-5
    True
    """
    path = pathlib.Path(path)
    specs = open_input_specs(model)
    tolerance = as_tolerance(tolerance, quantize)
    if not path.is_file():
        raise ValueError(f"`path` is no file. Received: path={path}")
    if samples is not None:
        samples = check_samples(samples, specs)
    if labels is not None:
        labels = check_labels(labels, samples)
    counts = check_content(model, path, quantize, sparse_encoding, input_output)
    _fix_sizes(specs, path)
    inputs = _drawn(model, specs) if samples is None else _checked_again(samples, specs)
    got, batch_size = run_file(path, specs, inputs)
    wanted = _run_keras(model, specs, inputs, batch_size)
    if not gives_dict(model):
        got = _in_place_of_positions(got, wanted)
    figures = compare(
        path,
        wanted,
        got,
        labels,
        tolerance,
        drawn=samples is None,
        advice=lambda: _advice(path, quantize),
    )
    return Verification(
        path,
        quantize,
        path.stat().st_size,
        counts,
        len(inputs[0]),
        **figures,
        float_operators=float_operators(path) if KINDS[quantize].calibrated else {},
    )


def _advice(path, quantize):
    advice = KINDS[quantize].advice
    widest = KINDS[quantize].calibrated and widest_range(path)
    return f"{about_a_wide_range(*widest)} {advice}" if widest else advice


def as_tolerance(tolerance, quantize):
    """The `Tolerance` of the argument `tolerance` of `verify`."""
    usual = kind_of(quantize).tolerance
    if tolerance is None:
        return usual
    if isinstance(tolerance, Tolerance):
        return tolerance
    if not is_limit(tolerance):
        raise ValueError(
            "`tolerance` must be a number of 0 or more, or an export.verify.Tolerance. "
            f"Received: tolerance={tolerance!r}"
        )
    return dataclasses.replace(usual, error=float(tolerance))


def check_labels(labels, samples):
    """Labels as an integer array that fits what `check_samples` returned, or a ValueError."""
    if samples is None:
        raise ValueError("`labels` belong to `samples`: give both.")
    count = len(samples[0])
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be integers of shape ({count},), one for each sample. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise ValueError(f"`labels` must be classes of 0 or more. Received: {labels.min()}")
    return labels


def check_content(model, path, quantize=None, sparse_encoding=False, input_output=None):
    """Counts the operators of a file; an ExportError if what it holds cannot be right."""
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
        # What is an integer in Keras, such as an index or a pixel, stays one.
        others = {tensor.dtype for tensor in own if "float" not in tensor.dtype}
        for name, dtype in dtypes.items():
            if dtype not in {input_output, "int32", "int64", "bool", *others}:
                raise ExportError(
                    f"{path} was to have the {what} {name!r} in {input_output}, and has it in "
                    f"{dtype}."
                )


def flex_refusal(path, model, found):
    """Says which layers need TensorFlow's operators.

    Args:
        path: the file.
        model: the `keras.Model`.
        found: what `flex_operators` returned.
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
    """The innermost layer in a tensor's name, which may have `_1` behind a layer's; or None."""
    layers = {layer.name: layer for layer in model._flatten_layers(include_self=False)}
    for part in reversed(tensor.split(";")[0].split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return layers[name]
    return None


def _check_size(model, path, weight_bytes, sparse_encoding):
    import keras

    # Equal tensors are stored once, so only the distinct ones must be there.
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


def run_file(path, specs, inputs):
    """Outputs of a file by name, `(n, ...)` each, and its batch size.

    Args:
        path: a `.tflite` file.
        specs: what `input_specs` returned.
        inputs: samples, as `check_samples` returned them.
    """
    runner = Runner(path)
    names = _file_names(path, runner, specs)
    # A file whose batch is open runs one sample at a time.
    size = runner.input_shapes[names[0]][0] or 1
    batches = _batches(inputs, size)
    outputs = [runner(dict(zip(names, batch, strict=True))) for batch in batches]
    return _stack(outputs, len(inputs[0]), size), size


def _file_names(path, runner, specs):
    """The name of each input in the file, or an ExportError if they are not the model's."""
    import keras

    shapes, flat = runner.input_shapes, keras.tree.flatten(specs)
    names = [
        next((name for name in getattr(spec, "names", (spec.name,)) if name in shapes), None)
        for spec in flat
    ]
    one_size = len({shape[:1] for shape in shapes.values()}) == 1
    fits = set(names) == set(shapes) and all(
        _fits(spec.shape[1:], shapes[name][1:]) for spec, name in zip(flat, names, strict=True)
    )
    if not fits or not one_size:
        known = {spec.name: spec.shape for spec in flat}
        raise ExportError(f"{path} has the inputs {shapes}, the model {known}.")
    return names


def _fits(shape, other):
    return len(shape) == len(other) and all(
        size == own or None in (size, own) for size, own in zip(shape, other, strict=True)
    )


def _fix_sizes(specs, path):
    """Sizes that are unknown in the model become those of the file, which may be open too."""
    import keras

    runner = Runner(path)
    flat = keras.tree.flatten(specs)
    for spec, name in zip(flat, _file_names(path, runner, specs), strict=True):
        sizes = zip(spec.shape[1:], runner.input_shapes[name][1:], strict=True)
        spec.shape = (spec.shape[0], *(size if own is None else own for own, size in sizes))


def _checked_again(samples, specs):
    """Samples that fitted the model must fit the sizes that the file has fixed."""
    import keras

    return check_samples(keras.tree.pack_sequence_as(specs, samples), specs)


def _drawn(model, specs):
    """Samples from a generator, of a size that the model takes where sizes are open."""
    import keras

    if _takes_ids(model, specs):
        with contextlib.suppress(Exception):  # a model that cannot be traced
            return _drawn_for_layers(model, specs)
    if not any(None in spec.shape for spec in keras.tree.flatten(specs)):
        return draw_samples(specs)
    for size in _OPEN_SIZES:
        inputs = draw_samples(specs, size=size)
        try:
            _call(model, specs, [array[:1] for array in inputs])
        except Exception:  # layers raise errors of any kind about a size
            continue
        return inputs
    raise ValueError(
        "`samples` are needed: the model's sizes are open, and it takes none of "
        f"{', '.join(map(str, _OPEN_SIZES))}."
    )


def _takes_ids(model, specs):
    import keras

    from keras_sparse.variables import layers_of_type

    integers = any("float" not in spec.dtype for spec in keras.tree.flatten(specs))
    return integers or bool(layers_of_type(model, keras.layers.Embedding))


def _drawn_for_layers(model, specs):
    """Samples with the ids that the model's layers take, at the sizes of the file."""
    import keras

    from keras_sparse.surgery.verify import random_inputs

    inputs = keras.tree.map_structure(
        lambda spec: keras.Input(spec.shape[1:], dtype=spec.dtype), specs
    )
    samples = random_inputs(keras.Model(inputs, model(inputs)))
    return check_samples(keras.tree.flatten(samples), keras.tree.flatten(specs))


def _batches(inputs, size):
    """The samples in batches of equal size; the last one wraps around."""
    rows = [np.arange(start, start + size) for start in range(0, len(inputs[0]), size)]
    return [[value.take(row, axis=0, mode="wrap") for value in inputs] for row in rows]


def _stack(batches, count, size):
    """Output name to one array over all samples, in float64 or integers."""
    return {
        name: np.concatenate([_rows(batch[name], size) for batch in batches])[:count]
        for name in batches[0]
    }


def _rows(value, size):
    """A value without the batch's axis is one row."""
    value = np.asarray(value)
    value = value if value.dtype.kind in "biu" else value.astype("float64")
    return value if value.shape[:1] == (size,) else value[np.newaxis]


def _in_place_of_positions(outputs, wanted):
    """Outputs by the model's names, where a file has them as `output_0` and so on."""
    positions = [f"output_{index}" for index in range(len(wanted))]
    if set(outputs) != set(positions) or set(outputs) == set(wanted):
        return outputs
    return {name: outputs[position] for name, position in zip(wanted, positions, strict=True)}


def _run_keras(model, specs, inputs, batch_size):
    """Outputs of the model by the names they have in a file, `(n, ...)` each."""

    outputs = getattr(model, "outputs", None) or []
    # Where an output is of a whole batch, only the file's batch gives the same.
    each = bool(outputs) and all(output.shape[:1] == (None,) for output in outputs)
    size = _KERAS_BATCH if each else batch_size
    batches = _batches(inputs, size)
    return _stack([_call(model, specs, batch) for batch in batches], len(inputs[0]), size)


def _call(model, specs, batch):
    import keras

    outputs = model(keras.tree.pack_sequence_as(specs, list(batch)), training=False)
    return {
        name: keras.ops.convert_to_numpy(value) for name, value in by_name(model, outputs).items()
    }
