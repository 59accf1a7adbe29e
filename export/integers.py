"""Checks that an int8 file computes in integers."""

import collections
import dataclasses

import numpy as np

from export.errors import ExportError
from export.tflite_file import operator_name, read

# LiteRT has int8 kernels for these, and they take nearly all of the time.
_ALWAYS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL")
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST")
# With such a wide range, int8's 256 levels are too coarse for numbers around 1.
_WIDE = 1e4


@dataclasses.dataclass(frozen=True)
class _Result:
    """A tensor that an operator writes."""

    kind: str
    name: str
    type: str
    range: tuple | None


def check_int8(path):
    """An ExportError if a file computes in floats where int8 files compute in integers."""
    results = [result for result in _results(path) if result.kind not in _CONVERSIONS]
    floats = [result for result in results if result.type == "FLOAT32"]
    slow = [result for result in floats if result.kind in _ALWAYS]
    if slow or (floats and not any(result.type == "INT8" for result in results)):
        worst = (slow or floats)[0]
        raise ExportError(
            f"{path} was to have int8 activations, and {worst.kind} gives float32 in "
            f"{worst.name!r}. The converter found no range for it: look at the representative "
            "samples, or choose quantize='dynamic'."
        )


def float_operators(path):
    """The number of operators that compute in floats, by name."""
    return dict(
        collections.Counter(
            result.kind
            for result in _results(path)
            if result.type == "FLOAT32" and result.kind not in _CONVERSIONS
        )
    )


def widest_range(path):
    """`(name, minimum, maximum)` of the int8 tensor with the widest range, if it is very wide."""
    ranges = [(result.name, *result.range) for result in _results(path) if result.range]
    widest = max(ranges, key=lambda found: found[2] - found[1], default=None)
    return widest if widest and widest[2] - widest[1] > _WIDE else None


def about_a_wide_range(name, least, largest):
    """Advice for a tensor with a range that is too wide for small numbers."""
    return (
        f"The tensor {name!r} goes from {least:.3g} to {largest:.3g}, which leaves none of the 256 "
        "levels to small numbers. If it is a mask, add -100 in place of the least float."
    )


def _results(path):
    from ai_edge_litert import schema_py_generated as schema

    types = {code: name for name, code in vars(schema.TensorType).items() if name.isupper()}
    model = read(path)
    found = []
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            kind = operator_name(model, operator)
            for index in operator.OutputsAsNumpy():
                tensor = graph.Tensors(int(index))
                kind_of_numbers = types.get(tensor.Type())
                limits = _range(tensor) if kind_of_numbers == "INT8" else None
                found.append(_Result(kind, tensor.Name().decode(), kind_of_numbers, limits))
    return found


def _range(tensor):
    quantization = tensor.Quantization()
    if quantization is None or quantization.ScaleLength() != 1:
        return None
    scale, zero = float(quantization.Scale(0)), int(quantization.ZeroPoint(0))
    limits = np.iinfo(np.int8)
    return scale * (limits.min - zero), scale * (limits.max - zero)
