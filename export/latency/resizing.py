"""TFLite files at any width, without a conversion for each width."""

import fractions

import numpy as np


class ResizableFile:
    """A TFLite file whose widths can be changed.

    Two files of a network at different widths are compared. Each size in which they differ is one
    of the widths, and can be replaced by another. This takes milliseconds; a conversion takes most
    of a second. Weights are repeated, because only the time matters.

    Args:
        content, other: the two files, as bytes.
        widths, other_widths: their widths, tuples of integers in the same order.

    Raises:
        ValueError: the files differ in more than their widths.
    """

    def __init__(self, content, other, widths, other_widths):
        self._content = content
        self._rules = _rules(_read(content), _read(other), widths, other_widths)

    def at(self, widths):
        """The file at these widths, as bytes."""
        model = _read(self._content)
        for tensor, (shape, numbers) in zip(_tensors(model), self._rules, strict=True):
            _resize(model, tensor, shape, numbers, widths)
        return _write(model)


def _rules(small, large, widths, other_widths):
    """Rules for changing each tensor: for the sizes in its shape, and for its integers."""
    if len(_tensors(small)) != len(_tensors(large)) or _operators(small) != _operators(large):
        raise ValueError("The files compute different things.")
    pairs = list(zip(widths, other_widths, strict=True))
    rules = []
    for a, b in zip(_tensors(small), _tensors(large), strict=True):
        shape = _differences(_integers(a.shape), _integers(b.shape), pairs)
        numbers = []
        if not any(shape) and _is_plain_int32(a):
            numbers = _differences(_numbers(small, a), _numbers(large, b), pairs)
        rules.append((shape, numbers))
    return rules


def _differences(sizes, others, pairs):
    """For each size None if it stays, else `(index of the width, factor)`."""
    if len(sizes) != len(others):
        raise ValueError("The files have tensors of different ranks.")
    return [_difference(*both, pairs) for both in zip(sizes, others, strict=True)]


def _difference(size, other, pairs):
    if size == other:
        return None
    if (size, other) in pairs:
        return pairs.index((size, other)), fractions.Fraction(1)
    for i, (width, other_width) in enumerate(pairs):
        if size * other_width == other * width:
            return i, fractions.Fraction(size, width)
    raise ValueError(f"The files differ in {size} and {other}, which are no widths.")


def _resize(model, tensor, shape, numbers, widths):
    sizes = _replaced(_integers(tensor.shape), shape, widths)
    buffer = model.buffers[tensor.buffer]
    if buffer.data is not None and any(shape):
        item = len(buffer.data) / np.prod(tensor.shape)
        buffer.data = np.resize(buffer.data, int(item * np.prod(sizes)))
    elif any(numbers):
        own = _replaced(_numbers(model, tensor), numbers, widths)
        buffer.data = np.array(own, "int32").view("uint8")
    tensor.shape = np.array(sizes, "int32")
    own = tensor.quantization
    if own is not None and own.scale is not None and len(own.scale) > 1:
        own.scale = np.resize(own.scale, sizes[own.quantizedDimension])
        own.zeroPoint = np.resize(own.zeroPoint, sizes[own.quantizedDimension])


def _replaced(sizes, rules, widths):
    return [
        size if rule is None else int(rule[1] * widths[rule[0]])
        for size, rule in zip(sizes, rules, strict=True)
    ]


def _integers(array):
    return [] if array is None else [int(value) for value in array]


def _is_plain_int32(tensor):
    """Whether a tensor may contain sizes; a quantized bias has the same type."""
    from ai_edge_litert import schema_py_generated as schema

    own = tensor.quantization
    return tensor.type == schema.TensorType.INT32 and (own is None or own.scale is None)


def _numbers(model, tensor):
    data = model.buffers[tensor.buffer].data
    return [] if data is None else _integers(np.array(data).view("int32"))


def _tensors(model):
    [graph] = model.subgraphs
    return graph.tensors


def _operators(model):
    """The operators in a form that can be compared between files."""
    [graph] = model.subgraphs
    codes = [code.builtinCode for code in model.operatorCodes]
    return [
        (codes[o.opcodeIndex], _integers(o.inputs), _integers(o.outputs), _options(o))
        for o in graph.operators
    ]


def _options(operator):
    options = operator.builtinOptions
    return None if options is None else sorted((k, str(v)) for k, v in vars(options).items())


def _read(content):
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromPackedBuf(content, 0)


def _write(model):
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
