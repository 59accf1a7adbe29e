"""Conversion of a Keras model to a TFLite file."""

import contextlib
import dataclasses
import io
import os
import pathlib
import tempfile
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from absl import logging

from export.content import flex_refusal
from export.convert.graph_of_model import save_graph
from export.convert.process import WORKER, WorkerDied
from export.convert.settings import Settings
from export.errors import ExportError, cannot_convert
from export.inputs import check_samples, input_specs
from export.kinds import Tolerance, kind_of
from export.verification import Verification
from export.verify import as_tolerance, check_labels, verify

if TYPE_CHECKING:
    import keras


def convert(
    model: "keras.Model",
    path: str | os.PathLike,
    *,
    quantize: Literal["float16", "dynamic", "int8"] | None = None,
    representative: Any = None,
    input_output: Literal["float32", "int8", "uint8"] = "float32",
    route: Literal["litert", "quantizer"] = "litert",
    sparse_encoding: bool = False,
    batch_size: int = 1,
    input_shape: Any = None,
    samples: Any = None,
    labels: Any = None,
    tolerance: Tolerance | float | None = None,
) -> Verification:
    """Writes a model as a TFLite file with a fixed batch size, and checks it.

    The file is written under a temporary name, checked by `export.verify`, and then moved to
    `path`. If the check fails, no file is left behind, and an existing file is kept. Inputs and
    outputs have the user's names in the file: the keys of a dict, or the names of the input and
    output layers. If Keras generated a name, or it is no plain identifier, the name is `input_0`,
    `output_0` and so on, by position. A model in `mixed_float16` or `mixed_bfloat16` is rebuilt in
    float32 first.

    The converters run in a separate process, so that a crash becomes an `ExportError`. The process
    is kept for the next conversion, and ends after a minute without one. For `"int8"`, an LSTM
    becomes one operator. Other recurrent layers, and all with the route `"quantizer"`, are
    unrolled, so their files grow with the number of steps.

    Args:
        model: a built `keras.Model`, with one or several inputs and outputs. Needs the TensorFlow
            backend.
        path: the file to write, ending in `.tflite`.
        quantize: None for float32. `"float16"`: weights in 2 bytes, for half the file.
            `"dynamic"`: weights in int8, activations quantized at run time, for a quarter of the
            file; faster only for dense layers and large convolutions. `"int8"`: weights (per
            channel) and activations in int8, for a quarter of the file. It is faster only on
            processors with int8 instructions.
        representative: for `"int8"`, 100 to 200 real samples to measure the ranges of the
            activations, in any of the forms of `samples`.
        input_output: for `"int8"`, the type of the file's inputs and outputs: `"float32"`, `"int8"`
            or `"uint8"`.
        route: for `"int8"`, the tool: `"litert"`, TensorFlow's converter, or `"quantizer"`,
            ai-edge-quantizer (`pip install 'keras-sparse[quantizer]'`).
        sparse_encoding: True omits zeros from the file for kernels with at least 30% zeros. For
            float32 and float16. The file needs more memory and starts more slowly;
            `sparse_runtime_report` says whether it is faster on a phone.
        batch_size: int, the batch size of the file.
        input_shape: for inputs with unknown sizes, the sizes without the batch, such as
            `(224, 224, 3)`; for several inputs a list of shapes, or a dict by name. None in a shape
            leaves a size open: the runtime then resizes the file's input. This takes memory and
            time when the size changes.
        samples: what to compare with Keras, as `model.predict` takes it: an array of shape
            `(n, ...)`, or a list, tuple or dict by name of them for several inputs. Or a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator, a list of batches, or a
            function that returns one of these, as for other converters; targets are ignored. With
            None, random samples are drawn with a fixed seed; real data are a better check.
        labels: integer classes `(n,)` of the samples: accuracies are then compared too.
        tolerance: an `export.verify.Tolerance`, or a number for its largest error; see `verify`.

    Returns:
        The `Verification` of the file: `path`, `bytes`, `operators`, `samples`, `max_abs_error`,
        `max_relative_error`, `agreement`, `accuracy` and more.

    Raises:
        ValueError: a bad argument, before any work.
        ExportError: the model cannot be converted, or the file does not equal the model.

    Example:

    >>> model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    >>> convert(model, "model.tflite", samples=x_test[:100]).bytes
    32588
    >>> convert(model, "int8.tflite", quantize="int8", representative=x_train[:100]).bytes
    10304
    """
    import keras

    from keras_sparse.files import replacing

    path = pathlib.Path(path)
    model, specs = checked_model(model, path, batch_size, input_shape)
    settings = Settings(quantize, route, input_output, sparse_encoding, representative)
    tolerance = as_tolerance(tolerance, quantize)
    calibration = compared = None
    if representative is not None:
        calibration = check_samples(representative, specs, "representative")
    if samples is not None:
        # A generator yields its samples only once.
        same = samples is representative
        compared = calibration if same else check_samples(samples, specs)
    if labels is not None:
        check_labels(labels, compared, model)
    if route == "quantizer":
        from export.convert.quantizer import check_installed

        check_installed()
    with (
        replacing(path) as temporary,
        real_name(temporary, path),
        _about_open_sizes(specs),
        _about_ranges(model, calibration),
    ):
        _write(model, temporary, specs, settings, calibration)
        result = verify(
            model,
            temporary,
            quantize=quantize,
            sparse_encoding=sparse_encoding,
            input_output=input_output if kind_of(quantize).calibrated else None,
            samples=None if compared is None else keras.tree.pack_sequence_as(specs, compared),
            labels=labels,
            tolerance=tolerance,
        )
    return dataclasses.replace(result, path=path)


def check_backend():
    """Raises a `ValueError` unless Keras runs on TensorFlow."""
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Conversion to TFLite needs the TensorFlow backend: save the model and convert it in "
            "a process with KERAS_BACKEND=tensorflow. Received: backend="
            f"{keras.backend.backend()!r}"
        )


def checked_model(model, path, batch_size=1, input_shape=None):
    """The model in float32, and its `input_specs`.

    Raises:
        ValueError: the model cannot become a TFLite file of that name.
    """
    import keras

    from export.convert.full_precision import in_float32

    check_backend()
    if path.suffix != ".tflite":
        raise ValueError(f"`path` must end in '.tflite'. Received: path={path}")
    outputs = getattr(model, "output", None) if getattr(model, "outputs", None) else None
    if any(len(keys) > 1 for keys, _ in keras.tree.flatten_with_path(outputs)):
        raise ValueError(
            "`model` has nested outputs; TFLite knows a tensor, a flat list or a flat dict. "
            f"Received: outputs={keras.tree.map_structure(lambda tensor: tensor.name, outputs)}"
        )
    input_specs(model, batch_size, input_shape)  # says what is wrong with the model
    model = in_float32(model)
    return model, input_specs(model, batch_size, input_shape)


@contextlib.contextmanager
def real_name(temporary, path):
    """Within the block, errors name the final file instead of the temporary one."""
    try:
        yield
    except ExportError as error:
        raise ExportError(str(error).replace(str(temporary), str(path))) from error


@contextlib.contextmanager
def _about_open_sizes(specs):
    """Adds to errors of a file with open sizes the advice to fix them."""
    import keras

    try:
        yield
    except ExportError as error:
        if not any(None in spec.shape for spec in keras.tree.flatten(specs)):
            raise
        raise ExportError(
            f"{error} The file was to have open sizes, which not all layers can have in LiteRT: "
            "give integers in `input_shape`."
        ) from error


@contextlib.contextmanager
def _about_ranges(model, calibration):
    """Adds to errors of an int8 file a tensor with values that are too large for int8."""
    try:
        yield
    except ExportError as error:
        if calibration is None or "256 levels" in str(error):
            raise
        from export.convert.ranges import about_extreme_ranges

        reason = about_extreme_ranges(model, calibration)
        if not reason:
            raise
        raise ExportError(f"{error} {reason}") from error


def _write(model, path, specs, settings, samples):
    """Traces the model, and converts it in another process, which may crash."""
    # A folder of its own, because TensorFlow takes brackets in a path for a pattern.
    with tempfile.TemporaryDirectory() as folder:
        _convert_by(pathlib.Path(folder) / "saved_model", model, path, specs, settings, samples)


def _convert_by(source, model, path, specs, settings, samples):
    """Converts by way of a SavedModel at `source`."""
    import keras

    WORKER.start()
    try:
        with _quiet():
            save_graph(model, specs, source, settings, samples)
    except Exception as error:  # TensorFlow raises errors of many types, pages long
        raise cannot_convert(model, error) from error
    calibration = None
    if samples is not None:
        calibration = path.with_name("samples.npz")
        np.savez(calibration, *_batched(samples, keras.tree.flatten(specs)[0].shape[0]))
    try:
        answer = WORKER.ask(
            # The process may have another current folder.
            source=os.path.abspath(source),
            target=os.path.abspath(path),
            quantize=settings.quantize,
            route=settings.route,
            input_output=settings.input_output,
            sparse_encoding=settings.sparse_encoding,
            samples=calibration and os.path.abspath(calibration),
            names=[spec.name for spec in keras.tree.flatten(specs)],
        )
    except WorkerDied as error:
        raise ExportError(
            f"The process that converted {model.name!r} to {settings.quantize or 'float32'} died: "
            f"{error}. {_way_out(settings)}"
        ) from error
    if answer.get("flex"):
        raise ExportError(flex_refusal(path, model, answer["flex"]))
    if answer:
        raise cannot_convert(model, answer["error"])


def _way_out(settings):
    """Advice after a crash."""
    if not kind_of(settings.quantize).calibrated:
        return "Convert parts of the model to find the layer that the converter cannot take."
    other = "quantizer" if settings.route == "litert" else "litert"
    return (
        f"Try route={other!r}, or quantize='dynamic', which needs no calibration; convert parts of "
        "the model to find the layer that the converter cannot take."
    )


def _batched(samples, size):
    """Samples as arrays of batches, `(batches, size, ...)`; an incomplete batch is omitted."""
    count = max(len(samples[0]) // size, 1)
    rows = np.arange(count * size).reshape(count, size)
    return [value.take(rows, axis=0, mode="wrap") for value in samples]


@contextlib.contextmanager
def _quiet():
    """Suppresses the converters' notes, warnings and progress bars."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
