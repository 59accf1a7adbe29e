"""TFLite files that are written without TensorFlow."""

import pathlib

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

Operators = schema.BuiltinOperator
Types = schema.TensorType


def write(path, tensors, operators, inputs=(0,), outputs=(-1,)):
    """Writes a file with one subgraph.

    Args:
        path: where.
        tensors: list of `(shape, type)` or `(shape, type, content)`, content an array.
        operators: list of `(builtin code, input indices, output indices)`, or with options, a
            `(code of the union, options)` pair, as the fourth.
        inputs, outputs: indices of tensors; -1 is the last.
    """
    codes = sorted({code for code, *_ in operators})
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    model.operatorCodes = [_code(code) for code in codes]
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(model, index, *figures) for index, figures in enumerate(tensors)]
    graph.operators = [_operator(codes, *operator) for operator in operators]
    graph.inputs = [index % len(tensors) for index in inputs]
    graph.outputs = [index % len(tensors) for index in outputs]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    pathlib.Path(path).write_bytes(builder.Output())
    return str(path)


def _code(code):
    entry = schema.OperatorCodeT()
    entry.builtinCode = code
    entry.deprecatedBuiltinCode = min(code, 127)
    entry.version = 1
    return entry


def _tensor(model, index, shape, kind, content=None):
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = list(shape), kind, f"tensor{index}".encode()
    tensor.buffer = 0
    if content is not None:
        buffer = schema.BufferT()
        buffer.data = list(content.tobytes())
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    return tensor


def _operator(codes, code, inputs, outputs, options=None):
    operator = schema.OperatorT()
    operator.opcodeIndex = codes.index(code)
    operator.inputs, operator.outputs = list(inputs), list(outputs)
    if options:
        operator.builtinOptionsType, operator.builtinOptions = options
    return operator


def write_dense(path, inputs, outputs, weights=None):
    """A file with one fully connected layer; without `weights` for reading, not for running."""
    options = schema.BuiltinOptions.FullyConnectedOptions, schema.FullyConnectedOptionsT()
    content = () if weights is None else (weights.astype("float32"),)
    return write(
        path,
        [
            ((1, inputs), Types.FLOAT32),
            ((outputs, inputs), Types.FLOAT32, *content),
            ((1, outputs), Types.FLOAT32),
        ],
        [(Operators.FULLY_CONNECTED, (0, 1), (2,), options)],
    )
