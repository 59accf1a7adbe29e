"""TensorFlow functions that Keras 2 put into graphs, written with `keras.ops`.

Each function has TensorFlow's argument names, so an unknown argument raises a TypeError. A tensor's
shape is a tuple here, with a `_Size` for each unknown size.
"""

import dataclasses
import itertools
import math

import keras
from keras import ops

_REBUILD = "Rebuild the model with a layer or `keras.ops` in its place, and load the weights."


def apply(function, first, arguments):
    """Calls the equivalent of a TensorFlow function, `"nn.relu6"` for `tf.nn.relu6`.

    Args:
        function: the name.
        first: the first argument, a `KerasTensor`, a list of them, or a shape.
        arguments: the other arguments, by name.

    Returns:
        A list of the symbolic results.

    Raises:
        ValueError: the function, or this use of it, is unknown.
    """
    if function not in _FUNCTIONS:
        raise ValueError(f"tf.{function} is not translated. {_REBUILD}")
    tensors = [x for x in keras.tree.flatten(first) if keras.backend.is_keras_tensor(x)]
    floats = all(keras.backend.is_float_dtype(x.dtype) for x in tensors)
    if function not in _ANY_TYPE and not floats:
        raise ValueError(f"tf.{function} of whole numbers is not translated. {_REBUILD}")
    given = {key: value for key, value in arguments.items() if key != "name"}
    outputs = _FUNCTIONS[function](first, **given)
    return outputs if isinstance(outputs, list) else [outputs]


@dataclasses.dataclass(frozen=True)
class _Size:
    """The size of a tensor along an axis that is unknown before run time."""

    tensor: keras.KerasTensor
    axis: int


def _binary(op):
    return lambda x, y: op(*_same_type(x, y))


def _same_type(x, y):
    """Give both the same dtype: TensorFlow gives a constant the dtype of the other operand."""
    tensors = [each for each in (x, y) if keras.backend.is_keras_tensor(each)]
    if not tensors:
        raise ValueError(f"calculating with shapes is not translated. {_REBUILD}")
    return _tensor(x, tensors[0]), _tensor(y, tensors[0])


def _tensor(value, like):
    if keras.backend.is_keras_tensor(value):
        return value
    if isinstance(value, list):
        return ops.convert_to_numpy(ops.array(value, dtype=like.dtype))
    return float(value) if keras.backend.is_float_dtype(like.dtype) else value


def _reduction(op):
    def reduce(input_tensor, axis=None, keepdims=False):
        axis = tuple(axis) if isinstance(axis, list) else axis
        return op(input_tensor, axis=axis, keepdims=keepdims)

    return reduce


def _leaky_relu(features, alpha=0.2):
    return ops.leaky_relu(features, negative_slope=alpha)


def _gelu(features, approximate=False):
    return ops.gelu(features, approximate=approximate)


def _softmax(logits, axis=-1):
    return ops.softmax(logits, axis=-1 if axis is None else axis)


def _bias_add(value, bias, data_format=None):
    if data_format not in (None, "NHWC", "N...C"):
        raise ValueError(f"its data_format={data_format!r} is not translated. {_REBUILD}")
    return ops.add(value, _tensor(bias, value))


def _clip(t, clip_value_min, clip_value_max):
    return ops.clip(t, clip_value_min, clip_value_max)


def _l2_normalize(x, axis=None, epsilon=1e-12):
    axis = tuple(axis) if isinstance(axis, list) else axis
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(squares, epsilon)))


def _matmul(a, b, transpose_a=False, transpose_b=False):
    a, b = _same_type(a, b)
    a = ops.swapaxes(a, -1, -2) if transpose_a else a
    return ops.matmul(a, ops.swapaxes(b, -1, -2) if transpose_b else b)


def _concat(values, axis):
    return ops.concatenate(values, axis=axis)


def _stack(values, axis=0):
    return ops.stack(values, axis=axis)


def _unstack(value, num=None, axis=0):
    return list(ops.unstack(value, num=num, axis=axis))


def _split(value, num_or_size_splits, axis=0):
    if isinstance(num_or_size_splits, int):
        return list(ops.split(value, num_or_size_splits, axis=axis))
    return list(ops.split(value, list(itertools.accumulate(num_or_size_splits))[:-1], axis=axis))


def _add_n(inputs):
    return sum(inputs[1:], start=inputs[0])


def _squeeze(x, axis=None):
    # The batch is None here, but TensorFlow would squeeze it if it is 1 at run time.
    if axis is None or axis == []:
        raise ValueError(f"tf.squeeze without an axis is not translated. {_REBUILD}")
    return ops.squeeze(x, axis=tuple(axis) if isinstance(axis, list) else axis)


def _expand_dims(x, axis):
    return ops.expand_dims(x, axis)


def _reshape(tensor, shape):
    open_sizes = [n for n in shape if n == -1 or isinstance(n, _Size)]
    if len(open_sizes) > 1:
        shape = _resolve(tensor, shape)
    return ops.reshape(tensor, [-1 if isinstance(n, _Size) else n for n in shape])


def _resolve(tensor, shape):
    """`shape` with its -1 resolved, if it refers to the tensor's only unknown size."""
    kept = [n for n in shape if isinstance(n, _Size)]
    rest = [n for axis, n in enumerate(tensor.shape) if [axis] != [size.axis for size in kept]]
    if len(kept) != 1 or kept[0].tensor is not tensor or None in rest or shape.count(-1) != 1:
        raise ValueError(f"a shape with several unknown sizes is not translated. {_REBUILD}")
    known = math.prod(n for n in shape if not isinstance(n, _Size) and n != -1)
    return [math.prod(rest) // known if n == -1 else n for n in shape]


def _transpose(a, perm=None, conjugate=False):
    return ops.transpose(a, perm)


def _pad(tensor, paddings, mode="CONSTANT", constant_values=0):
    if mode != "CONSTANT":
        return ops.pad(tensor, paddings, mode=mode.lower())
    return ops.pad(tensor, paddings, constant_values=constant_values)


def _tile(x, multiples):
    return ops.tile(x, multiples)


def _cast(x, dtype):
    return ops.cast(x, dtype)


def _shape(x, out_type=None):
    return tuple(_Size(x, axis) if n is None else n for axis, n in enumerate(x.shape))


def _getitem(x, slice_spec):
    spec = slice_spec if isinstance(slice_spec, list) else [slice_spec]
    index = tuple(_index(each) for each in spec)
    return x[index[0]] if isinstance(x, tuple) else x[index]


def _index(spec):
    if not isinstance(spec, dict):
        return spec
    if "start" in spec:
        return slice(spec["start"], spec["stop"], spec["step"])
    return Ellipsis


def _resize(images, size, method="bilinear", preserve_aspect_ratio=False, antialias=False):
    if preserve_aspect_ratio or method not in ("bilinear", "nearest"):
        raise ValueError(f"its method={method!r} is not translated. {_REBUILD}")
    return ops.image.resize(images, size, method, antialias=antialias, data_format="channels_last")


_FUNCTIONS = {
    "__operators__.add": _binary(ops.add),
    "__operators__.getitem": _getitem,
    "cast": _cast,
    "clip_by_value": _clip,
    "compat.v1.pad": _pad,
    "compat.v1.shape": _shape,
    "compat.v1.squeeze": _squeeze,
    "compat.v1.transpose": _transpose,
    "concat": _concat,
    "expand_dims": _expand_dims,
    "identity": lambda x: x,
    "image.resize": _resize,
    "linalg.matmul": _matmul,
    "math.abs": ops.abs,
    "math.add": _binary(ops.add),
    "math.add_n": _add_n,
    "math.divide": _binary(ops.divide),
    "math.exp": ops.exp,
    "math.l2_normalize": _l2_normalize,
    "math.log": ops.log,
    "math.maximum": _binary(ops.maximum),
    "math.minimum": _binary(ops.minimum),
    "math.multiply": _binary(ops.multiply),
    "math.negative": ops.negative,
    "math.pow": _binary(ops.power),
    "math.reduce_max": _reduction(ops.max),
    "math.reduce_mean": _reduction(ops.mean),
    "math.reduce_min": _reduction(ops.min),
    "math.reduce_sum": _reduction(ops.sum),
    "math.rsqrt": ops.rsqrt,
    "math.sigmoid": ops.sigmoid,
    "math.softplus": ops.softplus,
    "math.sqrt": ops.sqrt,
    "math.square": ops.square,
    "math.squared_difference": _binary(lambda x, y: ops.square(ops.subtract(x, y))),
    "math.subtract": _binary(ops.subtract),
    "math.tanh": ops.tanh,
    "math.truediv": _binary(ops.true_divide),
    "nn.bias_add": _bias_add,
    "nn.elu": ops.elu,
    "nn.gelu": _gelu,
    "nn.leaky_relu": _leaky_relu,
    "nn.relu": ops.relu,
    "nn.relu6": ops.relu6,
    "nn.selu": ops.selu,
    "nn.silu": ops.silu,
    "nn.softmax": _softmax,
    "reshape": _reshape,
    "shape": _shape,
    "split": _split,
    "stack": _stack,
    "tile": _tile,
    "unstack": _unstack,
}
# Other functions behave differently for integers, or do not accept them.
_ANY_TYPE = {
    "__operators__.add",
    "__operators__.getitem",
    "cast",
    "compat.v1.shape",
    "compat.v1.squeeze",
    "compat.v1.transpose",
    "concat",
    "expand_dims",
    "identity",
    "math.add",
    "math.multiply",
    "math.subtract",
    "reshape",
    "shape",
    "split",
    "stack",
    "tile",
    "unstack",
}
