"""Every optimizer with a tiny problem, for the tests that all of them must pass."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import GRDA, RDA, ProxSGD, PublishedRDAToTarget, optimizers
from keras_sparse.masks.schedules import CosineSchedule, CubicSchedule
from keras_sparse.optimizers.deep_r import DeepR
from keras_sparse.optimizers.dsr import DSR
from keras_sparse.optimizers.magnitude_pruning import MagnitudePruning
from keras_sparse.optimizers.proximal_optimizer import ProximalOptimizer
from keras_sparse.optimizers.rigl import RigL
from keras_sparse.optimizers.set import SET
from keras_sparse.optimizers.snip import SNIP
from keras_sparse.optimizers.sparse_momentum import SparseMomentum
from keras_sparse.optimizers.static_sparse import StaticSparse
from keras_sparse.optimizers.updates import UpdatesEvery
from keras_sparse.optimizers.with_density import WithDensity

DENSITY = 0.2


def thorough(values, *kept):
    """Parameters of which only the kept ones are run by default; `-m slow` runs the others."""
    slow = functools.partial(pytest.param, marks=pytest.mark.slow)
    return [
        value if value in kept else slow(*value if isinstance(value, tuple) else (value,))
        for value in values
    ]


def slow_on_jax(test):
    """A test that takes JAX long to compile, and shows nothing of the backend."""
    return pytest.mark.slow(test) if keras.backend.backend() == "jax" else test


STEPS_PER_EPOCH = 6


def masked(optimizer_class, learning_rate=0.05, **defaults):
    def make(**kwargs):
        options = {"learning_rate": learning_rate, "density": DENSITY, "seed": 1, **defaults}
        return optimizer_class(**{**options, **kwargs})

    return make


def magnitude_pruning(**kwargs):
    options = {
        "learning_rate": 0.05,
        "sparsity": CubicSchedule(0.0, 1 - DENSITY, end=5),
        "update_every": 2,
    }
    return MagnitudePruning(**{**options, **kwargs})


MASKED = {
    "StaticSparse": masked(StaticSparse),
    "SparseMomentum": masked(
        SparseMomentum, update_every=2, prune_rate=CosineSchedule(0.5, 0.0, end=18)
    ),
    "RigL": masked(RigL, update_every=2),
    "SET": masked(SET, update_every=2),
    "SNIP": masked(SNIP),
    "DSR": masked(DSR, update_every=2),
    "DeepR": masked(DeepR),
    "MagnitudePruning": magnitude_pruning,
}
# What needs no arguments of its own is here by being public.
PUBLIC = [getattr(optimizers, name) for name in optimizers.__all__]
for found in PUBLIC:
    if issubclass(found, WithDensity) and found.__name__ not in MASKED:
        often = {"update_every": 2} if issubclass(found, UpdatesEvery) else {}
        MASKED[found.__name__] = masked(found, **often)
THRESHOLDING = {
    "target": lambda **k: RDA(**{"target_sparsity": 0.6, "ramp_steps": 20, **k}),
    "target by channel": lambda **k: RDA(
        **{"target_sparsity": 0.6, "ramp_steps": 20, "groups": "channel", **k}
    ),
    "l1": lambda **k: RDA(**{"l1": 0.03, **k}),
    "published": lambda **k: RDA(**{"learning_rate": 1.0, "l1": 0.01, "variant": "published", **k}),
    "channel": lambda **k: RDA(**{"l1": 0.06, "groups": "channel", **k}),
    "GRDA": lambda **k: GRDA(**{"c": 0.3, **k}),
    "ProxSGD": lambda **k: ProxSGD(**{"learning_rate": 0.1, "l1": 0.03, **k}),
}
known = {type(make()) for make in THRESHOLDING.values()}
for found in PUBLIC:
    if issubclass(found, ProximalOptimizer) and found not in known | {PublishedRDAToTarget}:
        THRESHOLDING[found.__name__] = found
# Name to factory, which takes the arguments that a test wants to change.
OPTIMIZERS = {**MASKED, **THRESHOLDING}


def make_model():
    """Convolution, dense, normalisation: 1,516 sparse weights in three layers."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="hidden"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(4, name="head"),
        ]
    )


def make_model_with_its_own_step():
    """The same model with a `train_step` as users write it for TensorFlow."""
    import tensorflow as tf

    class Model(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    plain = make_model()
    return Model(plain.inputs, plain.outputs)


def make_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8 * STEPS_PER_EPOCH, 8, 8, 1)).astype("float32")
    return x, rng.integers(0, 4, len(x))


def compile_model(model, optimizer, build=True, **kwargs):
    """Compiles; builds the optimizer as well, or TensorFlow traces the step of `fit` twice."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **kwargs)
    if build and model.built:
        model.optimizer.build(model.trainable_variables)
    return model


def fit(model, epochs=2, **kwargs):
    x, y = make_data()
    return model.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def inner(optimizer):
    return getattr(optimizer, "inner_optimizer", optimizer)


def masks_of(optimizer):
    return {path: ops.convert_to_numpy(mask) for path, mask in inner(optimizer).masks.items()}


def check_masks(model, budget=None):
    """The ones are exactly the budget, and all outside them is +0.0, byte for byte."""
    masks = masks_of(model.optimizer)
    sparse = {v.path: v for v in model.trainable_variables if v.path in masks}
    assert len(sparse) == len(masks) > 0
    size = sum(mask.size for mask in masks.values())
    assert sum(mask.sum() for mask in masks.values()) == (
        round(DENSITY * size) if budget is None else budget
    )
    for path, variable in sparse.items():
        outside = ops.convert_to_numpy(variable).astype("float32")[~masks[path]]
        assert not outside.view("int32").any(), path


def same_bits(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(x), ops.convert_to_numpy(y), x.path)
