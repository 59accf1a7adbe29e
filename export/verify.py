"""Proof that a TFLite file is what the Keras model was."""

import collections
import dataclasses
import pathlib

import numpy as np

from export.errors import ExportError
from export.inputs import check_samples, draw_samples, input_specs

# Converted with the wrong trackable object, a file holds these in place of its weights, loads and
# computes garbage from memory that was never written.
VARIABLE_OPERATORS = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
SIGNATURE = "serving_default"


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found out about a TFLite file that equals its Keras model.

    Attributes:
        path: `pathlib.Path` of the file.
        bytes: its size.
        operators: dict from an operator's name to how often it occurs.
        samples: number of samples that were compared.
        drawn: True if the samples were drawn at random, False if the user gave them.
        max_abs_error: largest absolute difference to Keras over samples and outputs.
        max_relative_error: the same, relative to the largest absolute value of that output.
    """

    path: pathlib.Path
    bytes: int
    operators: dict
    samples: int
    drawn: bool
    max_abs_error: float
    max_relative_error: float

    def to_dict(self):
        """The attributes as plain values, for JSON."""
        return {**dataclasses.asdict(self), "path": str(self.path)}


def verify(model, path, *, samples=None, tolerance=1e-4):
    """Checks that a float32 TFLite file computes what a Keras model computes.

    The file must hold no TensorFlow ("Flex") and no variable operators, be at least half as large
    as the model's weights, load in LiteRT, and give the model's outputs, sample by sample at batch
    size 1. A NaN or an infinity, on either side, is a failure.

    Args:
        model: the built `keras.Model`, on the TensorFlow backend.
        path: the `.tflite` file.
        samples: what `model.predict` takes: an array of shape `(n, ...)`, or a list, tuple or dict
            of them for several inputs; all are run. Real data is the better proof. With None, 8
            samples are drawn from a generator with a fixed seed: standard normal for floats, 0 or
            1 for integers.
        tolerance: largest difference that passes, relative to the largest absolute value of the
            output tensor over all samples.

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
    inputs = draw_samples(specs) if samples is None else check_samples(samples, specs)
    if not path.is_file():
        raise ValueError(f"`path` is no file. Received: path={path}")
    counts = operators(path)
    _check_operators(counts, path)
    _check_size(model, path)
    absolute, relative = _compare(model, path, specs, inputs)
    if not relative <= tolerance:
        raise ExportError(
            f"{path} differs from the Keras model by {absolute:.3g}, {relative:.3g} of the "
            f"outputs' scale; the tolerance is {tolerance:.3g}."
        )
    return Verification(
        path=path,
        bytes=path.stat().st_size,
        operators=counts,
        samples=len(inputs[0]),
        drawn=samples is None,
        max_abs_error=absolute,
        max_relative_error=relative,
    )


def operators(path):
    """How often each operator occurs in a TFLite file, read without running it.

    Args:
        path: a `.tflite` file.

    Returns:
        A dict from name (`"CONV_2D"`; a custom operator by its own name, `"FlexErf"`) to count.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.
    """
    _load(path)  # the runtime's own check of the file; the reader below trusts it
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    content = pathlib.Path(path).read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    counts = collections.Counter()
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(subgraph.Operators, range(subgraph.OperatorsLength())):
            code = model.OperatorCodes(operator.OpcodeIndex())
            # Codes below 127 may be stored in the old one-byte field alone.
            builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            custom = code.CustomCode()
            counts[custom.decode() if custom else names.get(builtin, f"BUILTIN_{builtin}")] += 1
    return dict(counts)


def _check_operators(counts, path):
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


def _check_size(model, path):
    import keras

    # Equal tensors are stored once, so only the distinct ones must be there.
    distinct = {keras.ops.convert_to_numpy(weight).tobytes() for weight in model.weights}
    expected = sum(map(len, distinct))
    size = path.stat().st_size
    if 2 * size < expected:
        raise ExportError(
            f"{path} has {size} bytes, the weights of the Keras model {expected}: weights are "
            "missing from the file."
        )


def _compare(model, path, specs, inputs):
    """Largest absolute and relative difference of the file to the model."""
    runner = _signature_runner(path)
    names = _input_names(runner, specs, path)
    absolute = relative = 0.0
    wanted = _stack(_run_keras(model, specs, sample) for sample in zip(*inputs, strict=True))
    got = _stack(_run_file(runner, names, sample) for sample in zip(*inputs, strict=True))
    if _shapes(wanted) != _shapes(got):
        raise ExportError(f"{path} has the outputs {_shapes(got)}, the model {_shapes(wanted)}.")
    for name, value in wanted.items():
        if not np.isfinite(value).all():
            raise ExportError(f"The Keras model itself gives NaN or infinity in output {name!r}.")
        if not np.isfinite(got[name]).all():
            raise ExportError(f"{path} gives NaN or infinity in output {name!r}; Keras does not.")
        error = float(np.abs(value - got[name]).max())
        scale = float(np.abs(value).max())
        absolute = max(absolute, error)
        relative = max(relative, error / scale if scale else error)
    return absolute, relative


def _stack(samples):
    """Output name to one array over all samples, in float64."""
    samples = list(samples)
    return {
        name: np.stack([np.asarray(sample[name], "float64") for sample in samples])
        for name in samples[0]
    }


def _shapes(outputs):
    return {name: outputs[name].shape[1:] for name in sorted(outputs)}


def _load(path):
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_path=str(path))
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT does not load {path}: {error}") from error


def _signature_runner(path):
    try:
        return _load(path).get_signature_runner(SIGNATURE)
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT does not run {path}: {error}") from error


def _input_names(runner, specs, path):
    """The names of the inputs, in the order of the model's."""
    import keras

    details = runner.get_input_details().items()
    shapes = {name: tuple(map(int, detail["shape"])) for name, detail in details}
    known = {spec.name: spec.shape for spec in keras.tree.flatten(specs)}
    if shapes != known:
        raise ExportError(f"{path} has the inputs {shapes}, the model {known}.")
    return list(known)


def _run_keras(model, specs, sample):
    """Outputs by the names they have in the file."""
    import keras

    batch = keras.tree.pack_sequence_as(specs, [value[np.newaxis] for value in sample])
    outputs = model(batch, training=False)
    if not isinstance(outputs, dict):
        outputs = {f"output_{i}": out for i, out in enumerate(keras.tree.flatten(outputs))}
    return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def _run_file(runner, names, sample):
    return runner(**{name: v[np.newaxis] for name, v in zip(names, sample, strict=True)})
