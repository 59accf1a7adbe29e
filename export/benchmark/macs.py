"""Counting the multiply-accumulates of a TFLite file."""

import dataclasses
import math

from export.tflite_file import operator_name, read

# XNNPACK's kernels compute output channels in blocks of this size; a partly filled block takes as
# long as a full one. Floats on ARM have smaller blocks.
TILE = 16
ARM_FLOAT_TILE = 8
# Places of the forget gate's weights, which every LSTM has, among the operator's inputs.
_LSTM_INPUT_WEIGHTS, _LSTM_RECURRENT_WEIGHTS = 2, 6
# Operators that are not counted, or in part: a loop may have any number of turns.
UNCOUNTED = ("WHILE", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "SVDF")


@dataclasses.dataclass(frozen=True)
class FileMacs:
    """Multiply-accumulates of one inference.

    Attributes:
        total: products with weights, and of activations in matrix products.
        tiled: the same with the channels of every hidden layer rounded up to whole tiles. For the
            same kernels, latency follows this number more closely than `total`.
        uncounted: names of the operators in the file that are not counted, or in part.
    """

    total: int
    tiled: int
    uncounted: tuple = ()

    def __str__(self):
        """The number; a + marks operators that are not counted, or in part."""
        return f"{self.total:,}" + "+" * bool(self.uncounted)


def file_macs(path, *, arm=False):
    """Counts the multiply-accumulates of a TFLite file without running it.

    Convolutions of all kinds, fully connected layers, matrix products and LSTMs are counted. Zeros
    count like other weights. The body of a loop is counted once.

    Args:
        path: a `.tflite` file that LiteRT loads.
        arm: True for tiles of 8 channels for float weights, as in XNNPACK on ARM. Otherwise, and
            for integers, tiles are 16 channels wide.

    Returns:
        A `FileMacs`.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.

    Example:

    >>> file_macs("model.tflite").total
    461440
    """
    from ai_edge_litert import schema_py_generated as schema

    floats = {schema.TensorType.FLOAT32, schema.TensorType.FLOAT16}
    return _count(read(path), floats, arm)


def uncounted_notes(names, files):
    """A sentence for each file with operators that are not counted, or in part."""
    return [
        f"MACs of {name} count {', '.join(file.macs.uncounted)} not at all, or once for a loop."
        for name, file in zip(names, files, strict=True)
        if file.macs.uncounted
    ]


def _count(model, floats, arm):
    total = tiled = 0
    uncounted = set()
    for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
        computed = set()  # tensors that depend on the output of a product
        for operator in map(subgraph.Operators, range(subgraph.OperatorsLength())):
            name = operator_name(model, operator)
            inputs = _indices(operator.InputsAsNumpy(), subgraph)
            sizes = _PRODUCTS.get(name, _nothing)(operator, subgraph)
            if name in UNCOUNTED or model.OperatorCodes(operator.OpcodeIndex()).CustomCode():
                uncounted.add(name)
            if sizes:
                fixed, channels, out, source, weights = sizes
                is_float = subgraph.Tensors(weights).Type() in floats
                tile = ARM_FLOAT_TILE if arm and is_float else TILE
                total += fixed * channels * out
                # The channels of the model's input are not padded.
                hidden = _up(channels, tile) if source in computed else channels
                tiled += fixed * hidden * _up(out, tile)
            if sizes or any(index in computed for index in inputs):
                computed.update(_indices(operator.OutputsAsNumpy(), subgraph))
    return FileMacs(total, tiled, tuple(sorted(uncounted)))


def _indices(array, subgraph):
    return [int(i) for i in array if 0 <= i < subgraph.TensorsLength()] if len(array) else []


def _shape(subgraph, index):
    tensor = subgraph.Tensors(index)
    return [int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength())]


def _up(channels, tile):
    return math.ceil(channels / tile) * tile


# Each returns (positions and kernel, channels in, channels out, input, weights). The first three
# are multiplied.


def _nothing(operator, subgraph):
    return None


def _convolution(operator, subgraph):
    out, *kernel, channels = _shape(subgraph, operator.Inputs(1))
    positions = math.prod(_shape(subgraph, operator.Outputs(0))[:-1])
    fixed = positions * math.prod(kernel)
    return fixed, channels, out, operator.Inputs(0), operator.Inputs(1)


def _depthwise(operator, subgraph):
    *kernel, out = _shape(subgraph, operator.Inputs(1))
    positions = math.prod(_shape(subgraph, operator.Outputs(0))[:-1])
    return positions * math.prod(kernel), 1, out, None, operator.Inputs(1)


def _transposed(operator, subgraph):
    out, *kernel, channels = _shape(subgraph, operator.Inputs(1))
    positions = math.prod(_shape(subgraph, operator.Inputs(2))[:-1])
    fixed = positions * math.prod(kernel)
    return fixed, channels, out, operator.Inputs(2), operator.Inputs(1)


def _convolution_3d(operator, subgraph):
    *kernel, channels, out = _shape(subgraph, operator.Inputs(1))
    positions = math.prod(_shape(subgraph, operator.Outputs(0))[:-1])
    fixed = positions * math.prod(kernel)
    return fixed, channels, out, operator.Inputs(0), operator.Inputs(1)


def _fully_connected(operator, subgraph):
    out, channels = _shape(subgraph, operator.Inputs(1))
    positions = math.prod(_shape(subgraph, operator.Outputs(0))) // out
    return positions, channels, out, operator.Inputs(0), operator.Inputs(1)


def _lstm(operator, subgraph):
    units, channels = _shape(subgraph, operator.Inputs(_LSTM_INPUT_WEIGHTS))
    _, state = _shape(subgraph, operator.Inputs(_LSTM_RECURRENT_WEIGHTS))
    positions = math.prod(_shape(subgraph, operator.Inputs(0))[:-1])
    weights = operator.Inputs(_LSTM_INPUT_WEIGHTS)
    return positions, channels + state, 4 * units, operator.Inputs(0), weights


def _matrix_product(operator, subgraph):
    *positions, out = _shape(subgraph, operator.Outputs(0))
    sizes = math.prod(_shape(subgraph, operator.Inputs(0)))
    channels = sizes // math.prod(positions)
    return math.prod(positions), channels, out, operator.Inputs(0), operator.Inputs(1)


_PRODUCTS = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "CONV_3D": _convolution_3d,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matrix_product,
    "LSTM": _lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
