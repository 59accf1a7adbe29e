"""The one place where the backends differ: how a function of tensors is compiled."""

import keras


def compiled(function):
    """`function`, compiled once per set of shapes.

    Between training steps nothing else compiles: JAX would compile every loop anew at each call,
    TensorFlow run it one small operation at a time.

    Args:
        function: takes and returns (lists of) tensors, with no other effect.

    Returns:
        A function of the same arguments.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, autograph=False)
    return function
