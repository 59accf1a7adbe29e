"""A task that takes a second to learn."""

import keras
import numpy as np


def blobs(n=128, classes=3, features=6):
    """Points around one centre per class, and their labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    x = rng.normal(0, 2, (classes, features))[y] + rng.normal(0, 0.5, (n, features))
    return x.astype("float32"), y.astype("int32")


def small_model(kernel_initializer=None):
    """Six inputs, 16 hidden units, three classes."""
    make = kernel_initializer or keras.initializers.GlorotUniform(seed=0)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, "relu", kernel_initializer=make, name="hidden"),
            keras.layers.Dense(3, "softmax", kernel_initializer=make, name="logits"),
        ]
    )


def equal_paths():
    """Two layers with the path `c`; of four channels, one is dead in the first, two in the second.

    Names of layers may repeat in nested functional models, and Keras does not add the name of the
    nested model to their paths.
    """
    x = inputs = keras.Input((6,))
    inner_inputs = keras.Input((6,))
    first = keras.layers.Dense(4, "relu", name="c")
    x = keras.Model(inner_inputs, first(inner_inputs), name="inner")(x)
    second = keras.layers.Dense(4, "relu", name="c")
    model = keras.Model(inputs, keras.layers.Dense(3, "softmax", name="out")(second(x)))
    for dead, layer in enumerate((first, second), 1):
        kernel = np.ones(layer.kernel.shape)
        kernel[:, :dead] = 0
        layer.kernel.assign(kernel)
    return model
