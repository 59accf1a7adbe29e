"""The graph of a TFLite file, with the properties that sparse kernels require."""

import dataclasses

import numpy as np

from export.tflite_file import operator_name, read


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor of a file.

    Args:
        name: its name.
        shape: of ints.
        float: True for float32 and float16.
        data: its values if it is constant and stored densely, else None.
        stored: number of stored values of a sparsely encoded constant, else None.
    """

    name: str
    shape: tuple
    float: bool
    data: np.ndarray | None
    stored: int | None

    @property
    def zeros(self):
        """Number of zeros in a constant."""
        if self.stored is not None:
            return int(np.prod(self.shape)) - self.stored
        return int(np.prod(self.shape)) - int(np.count_nonzero(self.data))


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of a file.

    Args:
        kind: `"CONV_2D"` and so on.
        inputs, outputs: indices of tensors.
        options: dict of strides, padding and dilation.
    """

    kind: str
    inputs: tuple
    outputs: tuple
    options: dict


class FileGraph:
    """The first subgraph of a TFLite file.

    Args:
        path: a `.tflite` file.

    Attributes:
        tensors: list of `Tensor`.
        operators: list of `Operator`, in order, without those that unpack constants.
        outputs: set of indices of the graph's outputs.
        sparse: True if any constant is stored sparsely and unpacked when the file is loaded.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.
    """

    def __init__(self, path):
        model = read(path)
        graph = model.Subgraphs(0)
        self.tensors = [_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength())]
        found = [_operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())]
        self.sparse = any(operator.kind == "DENSIFY" for operator in found)
        self.outputs = set(graph.OutputsAsNumpy().tolist())
        self.operators = []
        for operator in found:
            if operator.kind in ("DENSIFY", "DEQUANTIZE") and self.constant(operator.inputs[0]):
                # Its output is the constant that it unpacks.
                source = self.tensors[operator.inputs[0]]
                unpacked = self.tensors[operator.outputs[0]]
                self.tensors[operator.outputs[0]] = dataclasses.replace(
                    unpacked, data=source.data, stored=source.stored
                )
            else:
                self.operators.append(operator)
        self.producers = {out: op for op in self.operators for out in op.outputs}
        self.consumers = {}
        for operator in self.operators:
            for index in operator.inputs:
                self.consumers.setdefault(index, []).append(operator)

    def constant(self, index):
        """True if a tensor's values are in the file."""
        tensor = self.tensors[index]
        return tensor.data is not None or tensor.stored is not None

    def variable_inputs(self, operator):
        """The inputs of an operator that are not constant."""
        return [index for index in operator.inputs if index >= 0 and not self.constant(index)]


def _tensor(model, tensor):
    from ai_edge_litert import schema_py_generated as schema

    dtypes = {
        schema.TensorType.FLOAT32: "float32",
        schema.TensorType.FLOAT16: "float16",
        schema.TensorType.INT32: "int32",
        schema.TensorType.INT8: "int8",
    }
    dtype = dtypes.get(tensor.Type())
    shape = tuple(tensor.ShapeAsNumpy().tolist()) if tensor.ShapeLength() else ()
    buffer = model.Buffers(tensor.Buffer())
    data = stored = None
    if buffer.DataLength() and dtype:
        data = buffer.DataAsNumpy().view(dtype)
        if tensor.Sparsity() is not None:
            # Short rows are padded in the format with blocks, but not in that of convolutions.
            data, stored = None, int(np.count_nonzero(data))
        else:
            data = data.reshape(shape)
    return Tensor(tensor.Name().decode(), shape, dtype in ("float32", "float16"), data, stored)


def _operator(model, operator):
    from ai_edge_litert import schema_py_generated as schema

    kind = operator_name(model, operator)
    classes = {"CONV_2D": schema.Conv2DOptions, "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions}
    options = {}
    if kind in classes:
        table = classes[kind]()
        table.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
        options = {
            "same": table.Padding() == schema.Padding.SAME,
            "strides": (table.StrideH(), table.StrideW()),
            "dilation": (table.DilationHFactor(), table.DilationWFactor()),
            "depth_multiplier": getattr(table, "DepthMultiplier", lambda: 1)(),
        }
    return Operator(
        kind,
        tuple(operator.InputsAsNumpy().tolist()),
        tuple(operator.OutputsAsNumpy().tolist()),
        options,
    )
