"""Checks that a TFLite file computes what its Keras model computes."""

import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from export.compare import check_outputs, compare
from export.content import check_content
from export.inputs import check_samples, open_input_specs
from export.integers import about_a_wide_range, float_operators, widest_range
from export.kinds import KINDS, Tolerance, is_limit, kind_of
from export.names import gives_dict
from export.running import checked_again, drawn, fix_sizes, run_file, run_keras
from export.verification import Verification

if TYPE_CHECKING:
    import keras


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

    The file must not have TensorFlow ("Flex") or variable operators. It must be at least half as
    large as the model's weights in its kind of quantization, compute in int8 if that is its kind,
    load in LiteRT, and give the model's outputs, in each column of their last axis. A NaN or an
    infinity, on either side, is a failure. Inputs and outputs that are integers in the file are
    scaled with the file's scales. Outputs that are integers in Keras must be equal.

    Args:
        model: the built `keras.Model`, on the TensorFlow backend.
        path: the `.tflite` file, of any fixed batch size.
        quantize: the kind of the file: None, `"float16"`, `"dynamic"` or `"int8"`.
        sparse_encoding: True if zeros were omitted from the file.
        input_output: for `"int8"`, the expected type of the file's inputs and outputs: `"float32"`,
            `"int8"` or `"uint8"`. With None, any.
        samples: samples in the form that `model.predict` takes: an array of shape `(n, ...)`, or a
            list, tuple or dict by name of arrays for several inputs; all are run. Or a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator, a list of batches, or a
            function that returns one of these; its targets are ignored. Real data are a better
            check. With None, random samples are drawn with a fixed seed: standard normal floats,
            and integers that the model's layers accept, such as the ids of an embedding, or else 0
            and 1. Agreement is then reported but not required.
        labels: integer classes of shape `(n,)` of the samples, for a model with one output with one
            value per class. If given, accuracies are compared too.
        tolerance: a `Tolerance`, or a number for its `error` only. Default: the kind's tolerance in
            `export.kinds`: error 1e-4 in float32, 0.01 with float16, 0.3 with int8 and dynamic.

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
        labels = check_labels(labels, samples, model)
    counts = check_content(model, path, quantize, sparse_encoding, input_output)
    fix_sizes(specs, path)
    inputs = drawn(model, specs) if samples is None else checked_again(samples, specs)
    got, batch_size = run_file(path, specs, inputs)
    wanted = run_keras(model, specs, inputs, batch_size)
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


def check_labels(labels, samples, model):
    """Labels as an integer array that fits the checked samples and the model's output.

    Raises:
        ValueError: they do not.
    """
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
    outputs = getattr(model, "outputs", None)
    if outputs:  # those of a subclassed model are known later
        found = [(tensor.shape[1:], "int" in str(tensor.dtype)) for tensor in outputs]
        check_outputs(found, labels)
    return labels


def _in_place_of_positions(outputs, wanted):
    """Outputs by the model's names, for a file with the names `output_0` and so on."""
    positions = [f"output_{index}" for index in range(len(wanted))]
    if set(outputs) != set(positions) or set(outputs) == set(wanted):
        return outputs
    return {name: outputs[position] for name, position in zip(wanted, positions, strict=True)}
