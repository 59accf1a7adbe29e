"""`keras.ops.argmax` with operators that LiteRT has."""

import contextlib
import functools


@contextlib.contextmanager
def plain_argmax(model):
    """While the block runs, argmax and argmin of a functional model are traced as TensorFlow's.

    Keras' own functions check the sign of zeros first, with an operator that LiteRT does not have.

    Args:
        model: a `keras.Model`; it is restored when the block ends.
    """
    found = [each for each in _operations(model) if type(each).__name__ in ("Argmax", "Argmin")]
    for operation in found:
        operation.__dict__["call"] = functools.partial(_call, operation)
    try:
        yield
    finally:
        for operation in found:
            operation.__dict__.pop("call", None)


def _operations(model):
    for operation in getattr(model, "operations", ()):
        yield operation
        yield from _operations(operation)


def _call(operation, x):
    import keras
    import tensorflow as tf

    function = tf.argmax if type(operation).__name__ == "Argmax" else tf.argmin
    axis, x = operation.axis, keras.ops.convert_to_tensor(x)
    if axis is None:
        found = function(tf.reshape(x, [-1]), axis=0, output_type="int32")
        return tf.reshape(found, [1] * x.ndim) if operation.keepdims else found
    found = function(x, axis=axis, output_type="int32")
    return tf.expand_dims(found, axis) if operation.keepdims else found
