"""What masks need of a backend besides `keras.ops`."""

import contextlib
import sys

import keras


def compiled(function):
    """`function`, compiled by XLA once per set of shapes, also if its caller is not compiled.

    Between training steps nothing else is compiled, and on a CPU Keras compiles nothing on
    TensorFlow: an update of the masks of a ResNet-18 would take 10 s instead of 1 s.

    Args:
        function: takes and returns (nested lists and dicts of) tensors, with no other effect.

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
    """Whether what is traced now is compiled by XLA for a GPU."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_physical_devices("GPU")) and not _is_mac_gpu()
    return False


def _is_mac_gpu():
    # As in Keras: TensorFlow has no XLA for the GPU of a Mac.
    import tensorflow as tf

    return sys.platform == "darwin" and bool(tf.config.list_physical_devices("GPU"))


def outside_trace():
    """A context in which variables have values and keep what is assigned to them.

    TensorFlow builds an optimizer while it traces the first training step: an `assign` would
    become a part of a trace that is thrown away.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.init_scope()
    return contextlib.nullcontext()


def has_value(variable):
    """Whether a variable can be read now.

    It cannot for the weights of a model that TensorFlow builds in the trace of its first step.
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

    On TensorFlow an embedding's gradient comes as `IndexedSlices`, and `ops.convert_to_tensor`
    gives a variable that no function accepts while the trace that made it is open.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(value)
    value = keras.ops.convert_to_tensor(value)
    # On PyTorch that is the variable itself, which changes when something is assigned to it.
    return keras.ops.copy(value) if keras.backend.backend() == "torch" else value
