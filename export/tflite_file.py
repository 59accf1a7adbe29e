"""Reading a TFLite file, and running it on arrays."""

import collections
import contextlib
import os
import pathlib

import numpy as np

from export.errors import ExportError
from export.quiet import without_notes

SIGNATURE = "serving_default"


def operators(path: str | os.PathLike) -> dict[str, int]:
    """The number of each operator in a TFLite file, read without running it.

    Args:
        path: a `.tflite` file.

    Returns:
        A dict from name (`"CONV_2D"`; for a custom operator its own name, `"FlexErf"`) to count.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.
    """
    model = read(path)
    counts = collections.Counter()
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(subgraph.Operators, range(subgraph.OperatorsLength())):
            counts[operator_name(model, operator)] += 1
    return dict(counts)


def flex_operators(path):
    """The operators of TensorFlow ("Flex") in a TFLite file, which LiteRT does not have.

    Args:
        path: a `.tflite` file.

    Returns:
        A list of `[name, tensor]`: `"FlexErf"` and the name of the first tensor that it writes.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.
    """
    model = read(path)
    found = []
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(subgraph.Operators, range(subgraph.OperatorsLength())):
            name = operator_name(model, operator)
            if name.startswith("Flex"):
                found.append([name, subgraph.Tensors(operator.Outputs(0)).Name().decode()])
    return found


def read(path):
    """The flatbuffer of a file, as `ai_edge_litert.schema_py_generated.Model`.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.
    """
    load(path)  # the runtime checks the file; the reader below does not
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(pathlib.Path(path).read_bytes(), 0)


def operator_name(model, operator):
    """The name of an operator of `read`'s model."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Codes below 127 may be stored only in the old one-byte field.
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = code.CustomCode()
    return custom.decode() if custom else names.get(builtin, f"BUILTIN_{builtin}")


def load(path):
    """An interpreter of a file; an ExportError if LiteRT refuses it."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_path=str(path))
    except (ValueError, RuntimeError) as error:
        raise ExportError(f"LiteRT does not load {path}: {error}") from error


class Runner:
    """A file that is ready to run on float arrays, even if its inputs are integers.

    Args:
        path: a `.tflite` file with the signature `serving_default`.

    Raises:
        ExportError: LiteRT refuses the file.
    """

    def __init__(self, path):
        self._path = path
        try:
            self._run = load(path).get_signature_runner(SIGNATURE)
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"LiteRT does not run {path}: {error}") from error
        self._ran = False
        self._inputs = self._run.get_input_details()
        self._outputs = self._run.get_output_details()

    @property
    def input_shapes(self):
        """`{input name: shape}`, including the batch; None for an open size."""
        return {
            # In some files, the signature of a shape is empty if all sizes are fixed.
            name: tuple(
                None if size == -1 else int(size)
                for size in (
                    detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
                )
            )
            for name, detail in self._inputs.items()
        }

    @property
    def dtypes(self):
        """`{name of an input or output: name of its dtype}`."""
        return tuple(
            {name: np.dtype(detail["dtype"]).name for name, detail in details.items()}
            for details in (self._inputs, self._outputs)
        )

    def __call__(self, inputs):
        """Outputs by name, as floats, for a dict of inputs of the file's own batch size."""
        inputs = {name: _quantized(value, self._inputs[name]) for name, value in inputs.items()}
        try:
            # The first run allocates memory, and LiteRT prints a note about it.
            with contextlib.nullcontext() if self._ran else without_notes():
                outputs = self._run(**inputs)
            self._ran = True
        except (ValueError, RuntimeError) as error:
            raise ExportError(f"LiteRT does not run {self._path}: {error}") from error
        return {name: _dequantized(value, self._outputs[name]) for name, value in outputs.items()}


def _quantized(value, detail):
    """Round a float to the integers that an input takes: real = scale * (integer - zero point)."""
    scale, zero = detail["quantization"]
    if not scale or value.dtype.kind != "f":
        return value
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(value / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def _dequantized(value, detail):
    scale, zero = detail["quantization"]
    if not scale or value.dtype.kind == "f":
        return value
    return scale * (value.astype("float64") - zero)
