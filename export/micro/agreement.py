"""Comparing the outputs of LiteRT for Microcontrollers with those of LiteRT."""

import dataclasses
import pathlib
import tempfile

import numpy as np

from export.errors import ExportError
from export.inputs import DRAWN_SAMPLES, read_samples
from export.quiet import without_notes

# Floats differ because of the order of additions.
_FLOAT_ERROR = 1e-4
# Number of samples on which the tensors of all operators are compared.
_TRACED = 2


@dataclasses.dataclass(frozen=True)
class LayerDifference:
    """An operator at which the two runtimes differ.

    Attributes:
        layer, operator: see `OperatorMemory`.
        share: share of the elements that differ.
        largest: the largest difference, in steps for integers, relative to the scale for floats.
    """

    layer: str
    operator: str
    share: float
    largest: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Outputs of LiteRT for Microcontrollers compared with LiteRT's.

    Attributes:
        samples: number of samples.
        drawn: whether they are random.
        steps: largest difference of integer outputs; None if an output has only floats.
        error: largest difference relative to the output's scale.
        share: share of the outputs' elements that differ by more than rounding of floats.
        layers: tuple of `LayerDifference`, for the operators whose tensors differ on the first
            samples, in the order in which they run.
    """

    samples: int
    drawn: bool
    steps: int | None
    error: float
    share: float
    layers: tuple

    @property
    def within_a_step(self):
        """Whether integers differ by one step at most, and floats by rounding."""
        return self.error <= _FLOAT_ERROR if self.steps is None else self.steps <= 1


def file_samples(path, source):
    """`(arrays, drawn)`: for each input of a file an array `(n, ...)` in the input's own type.

    Args:
        path: a `.tflite` file that takes one sample at a time.
        source: the path of a `.npy` or `.npz` file, an array, or a list or dict of arrays, as the
            model takes them; None for random samples.

    Raises:
        ValueError: samples of another shape, or that cannot be read.
        ExportError: the file has a batch of several samples, or open sizes.
    """
    from export.inputs import check_samples

    details = _interpreter(path).get_input_details()
    for detail in details:
        if detail["shape"][:1].tolist() != [1] or -1 in detail["shape_signature"]:
            raise ExportError(
                f"{path} has an input of shape {tuple(detail['shape_signature'].tolist())}: a "
                "microcontroller takes one sample of fixed sizes. Convert it with batch_size=1 and "
                "a fixed input_shape."
            )
    if source is None:
        rng = np.random.default_rng(0)
        return [_drawn(detail, rng) for detail in details], True
    specs = [_spec(detail) for detail in details]
    if isinstance(source, (str, pathlib.Path)):
        source, _ = read_samples(source, specs)
    arrays = check_samples(source, specs)
    return [quantized(a, d) for a, d in zip(arrays, details, strict=True)], False


def _spec(detail):
    import keras

    kind = np.dtype(detail["dtype"])
    takes_floats = kind.kind == "f" or detail["quantization"][0]
    name = detail["name"].removeprefix("serving_default_").split(":")[0]
    dtype = "float32" if takes_floats else kind.name
    return keras.layers.InputSpec(shape=tuple(detail["shape"].tolist()), dtype=dtype, name=name)


def _drawn(detail, rng):
    shape, dtype = (DRAWN_SAMPLES, *detail["shape"][1:]), np.dtype(detail["dtype"])
    if dtype.kind == "f" or detail["quantization"][0]:
        return quantized(rng.standard_normal(shape).astype("float32"), detail)
    return rng.integers(0, 2, shape).astype(dtype)


def quantized(array, detail):
    """Floats as integers of an input: real = scale * (integer - zero point)."""
    scale, zero = detail["quantization"]
    if not scale or array.dtype.kind != "f":
        return array.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(array / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def compare(path, tensors, samples, drawn, runtime, arena):
    """An `Agreement`, and the runtime's output about its memory.

    Args:
        path: the file.
        tensors: its `FileTensors`.
        samples: samples from `file_samples`.
        drawn: also from `file_samples`.
        runtime: a `Runtime` of the file.
        arena: a sufficient number of bytes.
    """
    rows = [array[:, None] for array in samples]
    got, log = run_rows(runtime, arena, rows, count=len(tensors.steps))
    wanted = _litert(path, rows)
    steps, errors, shares = [], [], []
    for own, other, step in zip(wanted, got, tensors.steps, strict=True):
        largest, relative, share = _difference(own, other, step)
        steps.append(largest)
        errors.append(relative)
        shares.append((share, own.size))
    agreement = Agreement(
        samples=len(samples[0]),
        drawn=drawn,
        steps=None if None in steps else max(steps),
        error=float(max(errors)),
        share=float(sum(share * n for share, n in shares) / sum(n for _, n in shares)),
        layers=_layers(path, tensors, [array[:_TRACED] for array in rows], runtime, 2 * arena),
    )
    return agreement, log


def _layers(path, tensors, rows, runtime, arena):
    indices = list(tensors.outputs)
    # If all tensors are kept, each has its own memory.
    arena += sum(row.bytes for row in tensors.operators)
    got, _ = run_rows(runtime, arena, rows, tensors=indices)
    wanted = _litert(path, rows, indices)
    found = []
    for operator, own, other in zip(tensors.operators, wanted, got, strict=True):
        largest, relative, share = _difference(own, other.reshape(own.shape), None)
        if share:
            size = relative if largest is None else largest
            found.append(LayerDifference(operator.layer, operator.operator, share, float(size)))
    return tuple(found)


def run_rows(runtime, arena, rows, **question):
    """The runtime's outputs for samples, and what it printed.

    Args:
        runtime: a `Runtime`.
        arena: a sufficient number of bytes.
        rows: list with an array `(n, 1, ...)` for each input.
        **question: which outputs to return, see `export.micro.worker`.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs = (str(pathlib.Path(folder) / f"{name}.npz") for name in ("in", "out"))
        np.savez(inputs, *rows)
        log = runtime.ask(arena=arena, inputs=inputs, outputs=outputs, **question)
        with np.load(outputs) as file:
            return [file[f"arr_{i}"] for i in range(len(file.files))], log


def _interpreter(path, **options):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(path), **options)


def _litert(path, rows, indices=None):
    """The outputs, or the tensors with these indices, each as an array over the samples."""
    from ai_edge_litert.interpreter import OpResolverType

    options = {}
    if indices is not None:
        # A delegate does not keep tensors.
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        options = {
            "experimental_preserve_all_tensors": True,
            "experimental_op_resolver_type": resolver,
        }
    interpreter = _interpreter(path, **options)
    with without_notes():
        interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    if indices is None:
        indices = [detail["index"] for detail in interpreter.get_output_details()]
    found = []
    for sample in zip(*rows, strict=True):
        for detail, value in zip(details, sample, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        found.append([interpreter.get_tensor(index) for index in indices])
    return [np.stack(each) for each in zip(*found, strict=True)]


def _difference(wanted, got, step):
    """`(steps or None, relative, share that differs)`."""
    difference = np.abs(wanted.astype("float64") - got)
    scale = float(np.abs(wanted.astype("float64")).max()) or 1.0
    relative = float(difference.max()) / scale if difference.size else 0.0
    if wanted.dtype.kind != "f":
        step = 1.0
    if step is None:
        differs = difference > _FLOAT_ERROR * scale
        return None, relative, float(differs.mean())
    largest = round(float(difference.max()) / step)
    return largest, relative, float((difference > step / 2).mean())
