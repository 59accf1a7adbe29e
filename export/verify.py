"""Proof that a TFLite file is what the Keras model was."""

import dataclasses
import numbers
import pathlib

import numpy as np

from export.errors import ExportError
from export.inputs import check_samples, draw_samples, input_specs
from export.tflite_file import Runner, operators

# Converted with the wrong trackable object, a file holds these in place of its weights, loads and
# computes garbage from memory that was never written.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
KINDS = (None, "float16", "dynamic", "int8")
_KERAS_BATCH = 32
_WEIGHT_BYTES = {None: 4, "float16": 2, "dynamic": 1, "int8": 1}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from its Keras model.

    Args:
        error: largest difference, relative to the largest absolute value of the output tensor over
            all samples.
        agreement: smallest share of samples whose largest output is the same; of any number of
            samples one may differ.
        accuracy: largest loss of accuracy, as a share of the samples; one sample is no loss.
    """

    error: float
    agreement: float
    accuracy: float


# By kind of quantization; only a broken file shall fail, what rounding costs is in the report.
# A network trained on the digits has errors of 5e-7, 4e-4, 0.006 and 0.05 of the outputs' scale and
# agrees on all samples; a ResNet-18 with random weights, whose predictions are nearer to ties,
# agrees on 1, 1, 0.97 and 0.94 of them (`benchmarks/quantized.py`).
TOLERANCES = {
    None: Tolerance(error=1e-4, agreement=0.995, accuracy=0.005),
    "float16": Tolerance(error=1e-2, agreement=0.98, accuracy=0.01),
    "dynamic": Tolerance(error=0.3, agreement=0.8, accuracy=0.05),
    "int8": Tolerance(error=0.3, agreement=0.8, accuracy=0.05),
}


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found out about a TFLite file that equals its Keras model.

    Attributes:
        path: `pathlib.Path` of the file.
        quantize: None, `"float16"`, `"dynamic"` or `"int8"`.
        bytes: its size.
        operators: dict from an operator's name to how often it occurs.
        samples: number of samples that were compared.
        drawn: True if the samples were drawn at random, False if the user gave them.
        max_abs_error: largest absolute difference to Keras over samples and outputs.
        max_relative_error: the same, relative to the largest absolute value of that output.
        agreement: share of samples whose largest output is the same, the least over the outputs
            that are vectors; None where there is none.
        accuracy, keras_accuracy: of the file and of the model; None without labels.
    """

    path: pathlib.Path
    quantize: str | None
    bytes: int
    operators: dict
    samples: int
    drawn: bool
    max_abs_error: float
    max_relative_error: float
    agreement: float | None
    accuracy: float | None
    keras_accuracy: float | None

    def to_dict(self):
        """The attributes as plain values, for JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def verify(
    model,
    path,
    *,
    quantize=None,
    sparse_encoding=False,
    samples=None,
    labels=None,
    tolerance=None,
):
    """Checks that a TFLite file computes what a Keras model computes.

    The file must hold no TensorFlow ("Flex") and no variable operators, be at least half as large
    as the model's weights are in its kind of numbers, load in LiteRT, and give the model's
    outputs. A NaN or an infinity, on either side, is a failure. Inputs and outputs that are
    integers in the file are scaled as the file says.

    Args:
        model: the built `keras.Model`, on the TensorFlow backend.
        path: the `.tflite` file, of any fixed batch size.
        quantize: what was done to the file: None, `"float16"`, `"dynamic"` or `"int8"`.
        sparse_encoding: True if zeros were left out of the file.
        samples: what `model.predict` takes: an array of shape `(n, ...)`, or a list, tuple or dict
            of them for several inputs; all are run. Real data is the better proof. With None, 8
            samples are drawn from a generator with a fixed seed: standard normal for floats, 0 or
            1 for integers; then agreement is reported but not asked for.
        labels: integer classes of shape `(n,)` of the samples, for a model with one output of one
            value per class. Then the accuracies are compared too.
        tolerance: a `Tolerance`, or a number for its `error` alone. Default: `TOLERANCES` of
            `export.verify`, by kind: error 1e-4 in float32, 0.01 with float16, 0.3 with
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
    specs = input_specs(model)
    tolerance = as_tolerance(tolerance, quantize)
    if labels is not None:
        labels = check_labels(labels, samples, specs)
    inputs = draw_samples(specs) if samples is None else check_samples(samples, specs)
    if not path.is_file():
        raise ValueError(f"`path` is no file. Received: path={path}")
    counts = check_content(model, path, quantize, sparse_encoding)
    count = len(inputs[0])
    got, batch_size = run_file(path, specs, inputs)
    wanted = _run_keras(model, specs, inputs, batch_size)
    figures = compare(path, wanted, got, labels, tolerance, drawn=samples is None)
    return Verification(path, quantize, path.stat().st_size, counts, count, **figures)


def as_tolerance(tolerance, quantize):
    """What `verify` takes as `tolerance`, as a `Tolerance`."""
    if quantize not in KINDS:
        raise ValueError(f"`quantize` must be one of {KINDS}. Received: quantize={quantize!r}")
    if tolerance is None:
        return TOLERANCES[quantize]
    if isinstance(tolerance, Tolerance):
        return tolerance
    if not isinstance(tolerance, numbers.Real) or not tolerance >= 0:
        raise ValueError(
            "`tolerance` must be a number of 0 or more, or an export.verify.Tolerance. "
            f"Received: tolerance={tolerance!r}"
        )
    return dataclasses.replace(TOLERANCES[quantize], error=float(tolerance))


def check_labels(labels, samples, specs):
    """Labels as an integer array that fits the samples, or a ValueError."""
    if samples is None:
        raise ValueError("`labels` belong to `samples`: give both.")
    count = len(check_samples(samples, specs)[0])
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"`labels` must be integers of shape ({count},), one for each sample. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    return labels


def check_content(model, path, quantize=None, sparse_encoding=False):
    """Counts the operators of a file; an ExportError if they or the size cannot be right."""
    counts = operators(path)
    flex = sorted(name for name in counts if name.startswith("Flex"))
    if flex:
        raise ExportError(
            f"{path} needs TensorFlow itself to run: {', '.join(flex)}. LiteRT has no operator of "
            "its own for them; replace the layers that use them."
        )
    variable = sorted(name for name in counts if name in VARIABLE_OPERATORS)
    if variable:
        raise ExportError(
            f"{path} keeps variables in place of constants: {', '.join(variable)}. Models that "
            "change their state when called cannot be converted."
        )
    _check_size(model, path, _WEIGHT_BYTES[quantize], sparse_encoding)
    return counts


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


def compare(path, wanted, got, labels, tolerance, drawn):
    """Figures of a `Verification` from outputs by name, or an ExportError.

    Args:
        path: the file, for the messages.
        wanted, got: dict from an output's name to an array `(n, ...)`, of the model and of the
            file.
        labels: integer classes `(n,)`, or None.
        tolerance: a `Tolerance`.
        drawn: True if the samples are random: nothing is asked of the predictions then.
    """
    if _shapes(wanted) != _shapes(got):
        raise ExportError(f"{path} has the outputs {_shapes(got)}, the model {_shapes(wanted)}.")
    absolute = relative = 0.0
    for name, value in wanted.items():
        if not np.isfinite(value).all():
            raise ExportError(f"The Keras model itself gives NaN or infinity in output {name!r}.")
        if not np.isfinite(got[name]).all():
            raise ExportError(f"{path} gives NaN or infinity in output {name!r}; Keras does not.")
        error = float(np.abs(value - got[name]).max())
        scale = float(np.abs(value).max())
        absolute = max(absolute, error)
        relative = max(relative, error / scale if scale else error)
    if not relative <= tolerance.error:
        raise ExportError(
            f"{path} differs from the Keras model by {absolute:.3g}, {relative:.3g} of the "
            f"outputs' scale; the tolerance is {tolerance.error:.3g}."
        )
    agreement = _agreement(wanted, got)
    if agreement is not None and not drawn:
        _check_agreement(path, agreement, len(next(iter(wanted.values()))), tolerance)
    before, after = _accuracies(path, wanted, got, labels, tolerance)
    return {
        "drawn": drawn,
        "max_abs_error": absolute,
        "max_relative_error": relative,
        "agreement": agreement,
        "accuracy": after,
        "keras_accuracy": before,
    }


def _agreement(wanted, got):
    shares = [
        float(np.mean(value.argmax(-1) == got[name].argmax(-1)))
        for name, value in wanted.items()
        if value.ndim == 2 and value.shape[1] > 1
    ]
    return min(shares) if shares else None


def _check_agreement(path, agreement, count, tolerance):
    allowed = max(1, int((1 - tolerance.agreement) * count))
    if round((1 - agreement) * count) > allowed:
        raise ExportError(
            f"{path} predicts the same as the Keras model for {agreement:.2%} of {count} samples; "
            f"at least {tolerance.agreement:.2%} are asked for."
        )


def _accuracies(path, wanted, got, labels, tolerance):
    """Accuracy of the model and of the file, (None, None) without labels."""
    if labels is None:
        return None, None
    shapes = [value.shape[1:] for value in wanted.values()]
    if len(shapes) != 1 or len(shapes[0]) != 1 or shapes[0][0] <= labels.max():
        raise ValueError(
            "`labels` need a model with one output of one value per class. Received: outputs of "
            f"shape {shapes}, labels up to {labels.max()}"
        )
    before, after = (
        float(np.mean(next(iter(outputs.values())).argmax(-1) == labels))
        for outputs in (wanted, got)
    )
    if round((before - after) * len(labels)) > max(1, int(tolerance.accuracy * len(labels))):
        raise ExportError(
            f"{path} has an accuracy of {after:.4f}, the Keras model {before:.4f}; the tolerance "
            f"is {tolerance.accuracy}."
        )
    return before, after


def run_file(path, specs, inputs):
    """Outputs of a file by name, `(n, ...)` each, and its batch size.

    Args:
        path: a `.tflite` file.
        specs: what `input_specs` returned.
        inputs: samples, as `check_samples` returned them.
    """
    runner = _checked_runner(path, specs)
    [size] = {shape[0] for shape in runner.input_shapes.values()}
    batches = _batches(inputs, size)
    outputs = [runner(dict(zip(_names(specs), batch, strict=True))) for batch in batches]
    return _stack(outputs, len(inputs[0]), size), size


def _checked_runner(path, specs):
    import keras

    runner = Runner(path)
    shapes = runner.input_shapes
    known = {spec.name: spec.shape for spec in keras.tree.flatten(specs)}
    rest = {name: shape[1:] for name, shape in shapes.items()}
    one_size = len({shape[:1] for shape in shapes.values()}) == 1
    if rest != {name: shape[1:] for name, shape in known.items()} or not one_size:
        raise ExportError(f"{path} has the inputs {shapes}, the model {known}.")
    return runner


def _batches(inputs, size):
    """The samples in batches of equal size; the last one wraps around."""
    rows = [np.arange(start, start + size) for start in range(0, len(inputs[0]), size)]
    return [[value.take(row, axis=0, mode="wrap") for value in inputs] for row in rows]


def _names(specs):
    import keras

    return [spec.name for spec in keras.tree.flatten(specs)]


def _stack(batches, count, size):
    """Output name to one array over all samples, in float64."""
    return {
        name: np.concatenate([_rows(batch[name], size) for batch in batches])[:count]
        for name in batches[0]
    }


def _rows(value, size):
    """A value without the batch's axis is one row."""
    value = np.asarray(value, "float64")
    return value if value.shape[:1] == (size,) else value[np.newaxis]


def _shapes(outputs):
    return {name: outputs[name].shape[1:] for name in sorted(outputs)}


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
    if not isinstance(outputs, dict):
        outputs = {f"output_{i}": out for i, out in enumerate(keras.tree.flatten(outputs))}
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}
