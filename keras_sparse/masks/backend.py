"""Backend functions for masks that `keras.ops` does not have."""

import contextlib
import sys

import keras


def compiled(function):
    """`function`, compiled by XLA once per set of shapes, also if its caller is not compiled.

    Keras does not compile code between training steps, and with TensorFlow on a CPU it compiles
    nothing. Without it, an update of the masks of a ResNet-18 would take 10 s instead of 1 s.

    Args:
        function: takes and returns (nested lists and dicts of) tensors, without side effects.

    Returns:
        A function of the same arguments.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False, jit_compile=not _is_mac_gpu())
    return function


def compiles_for_gpu():
    """Whether XLA compiles the current trace for a GPU."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU")) and not _is_mac_gpu()
    return False


def _is_mac_gpu():
    # As in Keras: TensorFlow has no XLA for GPUs of Macs.
    import tensorflow as tf

    return sys.platform == "darwin" and bool(tf.config.list_physical_devices("GPU"))


def outside_trace():
    """A context in which variables have values and keep what is assigned to them.

    TensorFlow builds an optimizer while it traces the first training step. An `assign` would become
    a part of that trace, which is discarded.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    return contextlib.nullcontext()


def has_value(variable):
    """Whether a variable can be read now.

    It cannot be read if TensorFlow builds the model in the trace of its first step.
    """
    if keras.backend.backend() == "tensorflow":
        with outside_trace():
            return bool(variable.value.is_initialized())
    return True


def value_outside_trace(variable):
    """The value of a variable as a NumPy array of float32.

    Raises:
        ValueError: the variable has no value yet.
    """
    if not has_value(variable):
        raise ValueError(
            f"The first masks depend on the first weights, and {variable.path!r} has no value "
            "before the first step. Build the model before `fit`: start it with `keras.Input`, or "
            "call it, or `model.build(...)`."
        )
    with outside_trace():
        return keras.ops.convert_to_numpy(variable).astype("float32")


def dense(value):
    """A variable or a gradient as a plain tensor.

    On TensorFlow an embedding's gradient comes as `IndexedSlices`. `ops.convert_to_tensor` returns
    a variable that no function accepts until its trace ends.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(value)
    value = keras.ops.convert_to_tensor(value)
    # On PyTorch the result is the variable itself, which changes on an assignment.
    return keras.ops.copy(value) if keras.backend.backend() == "torch" else value
