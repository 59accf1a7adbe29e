"""The tensors that a file needs at the same time, for each operator."""

import dataclasses

import numpy as np

from export.tflite_file import operator_name, read

# The runtime's planner places every tensor at a multiple of this.
ALIGNMENT = 16
_BYTES = {"FLOAT32": 4, "INT32": 4, "UINT32": 4, "FLOAT16": 2, "INT16": 2, "INT64": 8, "FLOAT64": 8}


@dataclasses.dataclass(frozen=True)
class LiveTensor:
    """A tensor that an operator, or a later operator, needs.

    Attributes:
        name: the layer that computes it, or `"input 0"`.
        shape: including the batch.
        bytes: rounded up to the planner's 16.
    """

    name: str
    shape: tuple
    bytes: int


@dataclasses.dataclass(frozen=True)
class OperatorMemory:
    """The tensors in memory while an operator runs.

    Attributes:
        operator: `"CONV_2D"`.
        layer: name of the Keras layer that it comes from, if the file has it.
        tensors: tuple of `LiveTensor`.
    """

    operator: str
    layer: str
    tensors: tuple

    @property
    def bytes(self):
        """Sum of the bytes of the tensors."""
        return sum(tensor.bytes for tensor in self.tensors)


@dataclasses.dataclass(frozen=True)
class FileTensors:
    """The tensors and operators of a file, read without running it.

    Attributes:
        operators: tuple of `OperatorMemory`, in the order in which they run.
        outputs: for each operator, the index of its output tensor.
        steps: for each output of the file, the size of one step of its integers, or None for floats
            that were not computed from integers.
        float16: whether weights are in half precision.
    """

    operators: tuple
    outputs: tuple
    steps: tuple
    float16: bool

    @property
    def peak(self):
        """The `OperatorMemory` that needs most."""
        return max(self.operators, key=lambda operator: operator.bytes)


def file_tensors(path):
    """The `FileTensors` of a file.

    Raises:
        ExportError: the file is not a TFLite file, or damaged.
    """
    model = read(path)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    outputs = [_indices(operator.OutputsAsNumpy()) for operator in operators]
    pairs = zip(operators, outputs, strict=True)
    # One that assigns to a variable has no output.
    kinds = {found[0]: operator_name(model, op) for op, found in pairs if found}
    names = _layer_names(graph, kinds)
    for position, index in enumerate(_indices(graph.InputsAsNumpy())):
        names[index] = f"input {position}"
    lives = _lives(graph, operators)
    tensors = {
        index: LiveTensor(names.get(index, _name(graph, index)), *_size(graph, index))
        for index in lives
    }
    rows = [
        OperatorMemory(
            kinds[outputs[step][0]],
            names[outputs[step][0]],
            tuple(tensors[i] for i, (first, last) in lives.items() if first <= step <= last),
        )
        for step in range(len(operators))
        if outputs[step]
    ]
    return FileTensors(
        tuple(rows),
        tuple(found[0] for found in outputs if found),
        tuple(_step(model, graph, index) for index in _indices(graph.OutputsAsNumpy())),
        any(_type(graph, i) == "FLOAT16" for i in range(graph.TensorsLength())),
    )


def _lives(graph, operators):
    """`{tensor: (first, last)}`, the operators between which it is needed; without constants."""
    lives = dict.fromkeys(_indices(graph.InputsAsNumpy()), (0, 0))
    for step, operator in enumerate(operators):
        for index in _indices(operator.OutputsAsNumpy()):
            lives[index] = step, step
        for index in _indices(operator.InputsAsNumpy()):
            if index in lives:
                lives[index] = lives[index][0], step
    for index in _indices(graph.OutputsAsNumpy()):
        if index in lives:
            lives[index] = lives[index][0], len(operators) - 1
    return lives


def _indices(array):
    return [int(i) for i in array if i >= 0] if len(array) else []


def _type(graph, index):
    from ai_edge_litert import schema_py_generated as schema

    kind = graph.Tensors(index).Type()
    return next(name for name, code in vars(schema.TensorType).items() if code == kind)


def _size(graph, index):
    tensor = graph.Tensors(index)
    shape = tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
    size = int(np.prod(shape)) * _BYTES.get(_type(graph, index), 1)
    return shape, -(-size // ALIGNMENT) * ALIGNMENT


def _step(model, graph, index):
    for operator in map(graph.Operators, range(graph.OperatorsLength())):
        found = _indices(operator.OutputsAsNumpy())
        if index in found and operator_name(model, operator) == "DEQUANTIZE":
            index = int(operator.Inputs(0))
            break
    quantization = graph.Tensors(index).Quantization()
    if quantization is None or quantization.ScaleLength() != 1:
        return None
    return float(quantization.Scale(0))


def _name(graph, index):
    return graph.Tensors(index).Name().decode(errors="replace")


def _layer_names(graph, kinds):
    """`{tensor: name of the layer}`; a tensor's name contains all layers fused into it.

    Args:
        kinds: `{tensor: operator}`; the operator's name is used if a tensor's name has no layer.
    """
    names = {index: _layer(_name(graph, index)) for index in kinds}
    # The export calls a model's layers again, which adds a number to their names.
    own = [name for name in names.values() if name]
    suffix = "_1" if own and all(name.endswith("_1") for name in own) else ""
    return {index: names[index].removesuffix(suffix) or kinds[index] for index in kinds}


def _layer(name):
    parts = [part for part in name.split(";")[0].split("/")[:-1] if part != "batchnorm"]
    return parts[-1] if parts else ""
