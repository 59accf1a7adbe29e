"""Plain `compile` and `fit` in every way that Keras has, for the optimizers that threshold."""

import contextlib
import functools
import itertools

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import RDA, prunable_variables, sparsity

from .matrix import (
    THRESHOLDING,
    compile_model,
    fit,
    inner,
    make_data,
    make_model,
    make_model_with_its_own_step,
    thorough,
)
from .test_matrix import on_jax, on_tensorflow, tensorflow


def some(*kept):
    """By default each is tried in some of the ways, and each way with one of them."""
    return pytest.mark.parametrize("name", thorough(["target", "l1", "published"], *kept))


# A search over all layers, thresholds that count steps, and none of either.
ON_TWO_DEVICES = pytest.mark.parametrize(
    "name", thorough(["target by channel", "published", "ProxSGD"], "target by channel")
)


def trained(name, epochs=4, model=None, policy=None, optimizer=None, **compile_arguments):
    keras.config.set_dtype_policy(policy or "float32")
    try:
        model = model or make_model()
    finally:
        keras.config.set_dtype_policy("float32")
    compile_model(model, optimizer or THRESHOLDING[name](), **compile_arguments)
    fit(model, epochs=epochs)
    return model


@functools.cache
def plain(name):
    """The weights after a training without anything special."""
    return weights(trained(name))


def weights(model):
    return np.concatenate([ops.convert_to_numpy(w).ravel() for w in model.trainable_variables])


def check_zeros(model):
    """Some weights are zero, none of them −0.0, and not all."""
    assert 0 < sparsity(model) < 1
    for variable in prunable_variables(model):
        values = ops.convert_to_numpy(variable).astype("float32")
        assert not np.signbit(values[values == 0]).any(), variable.path


def check_same(model, reference):
    check_zeros(model)
    np.testing.assert_allclose(weights(model), reference, atol=2e-4)


# The search for a target takes JAX long where it is not compiled.
@pytest.mark.parametrize("name", THRESHOLDING)
def test_a_learning_rate_that_a_callback_set_to_zero_is_in_the_config(name):
    optimizer = THRESHOLDING[name](learning_rate=0.1)
    optimizer.learning_rate = 0.0
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("name", thorough(THRESHOLDING, "target" if on_tensorflow else "published"))
@pytest.mark.xla
def test_compiled_is_eager(name):
    """Also where the optimizer is built while the step is traced, as `fit` does it."""
    compiled = trained(name, build=False, jit_compile=not on_tensorflow)
    check_same(compiled, weights(trained(name, run_eagerly=True)))


@tensorflow
@some("published")
def test_xla_is_plain_tensorflow(name):
    check_same(trained(name, jit_compile=True), weights(trained(name, jit_compile=False)))


@some("target")
def test_several_steps_per_execution(name):
    check_same(trained(name, steps_per_execution=3), plain(name))


@some("published")
def test_gradient_accumulation_is_a_larger_batch(name):
    """t counts applied steps: twice the batch in one step, or in two."""
    x, y = make_data()
    models = []
    for size, options in ((8, {"gradient_accumulation_steps": 2}), (16, {})):
        model = make_model()
        # Batch normalisation would see other batches.
        model.get_layer("norm").trainable = False
        compile_model(model, THRESHOLDING[name](**options))
        model.fit(x, y, batch_size=size, epochs=8, shuffle=False, verbose=0)
        models.append(model)
    check_same(models[0], weights(models[1]))


@some("target")
def test_loss_scale_factor_cancels_out(name):
    check_same(trained(name, optimizer=THRESHOLDING[name](loss_scale_factor=64.0)), plain(name))


@pytest.mark.parametrize(
    "option", thorough(["clipnorm", "global_clipnorm", "clipvalue"], "clipnorm")
)
def test_clipping(option):
    """Gradients that are clipped to almost nothing do not move weights by more."""
    start = weights(make_model())
    moved = {
        limit: np.abs(weights(trained("l1", 1, optimizer=RDA(l1=0.0, **{option: limit}))) - start)
        for limit in (1e-4, 1e4)
    }
    assert moved[1e-4].max() < 6 * 0.1 * 1e-4 * 1.01
    assert moved[1e4].max() > 0.01


@some("published")
def test_learning_rate_schedule_that_is_constant(name):
    rate = THRESHOLDING[name]().get_config()["learning_rate"]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([5], [rate, rate])
    check_same(trained(name, optimizer=THRESHOLDING[name](learning_rate=schedule)), plain(name))


@pytest.mark.parametrize(
    ("name", "policy"),
    thorough(
        list(
            itertools.product(
                ["target", "l1", "published"], ["mixed_float16", "mixed_bfloat16", "bfloat16"]
            )
        ),
        ("target", "mixed_float16"),
        ("published", "bfloat16"),
    ),
)
def test_mixed_precision(name, policy):
    model = trained(name, policy=policy)
    check_zeros(model)
    assert inner(model.optimizer).iterations > 0


@tensorflow  # on JAX Keras scales the loss inside `fit` alone
def test_t_counts_applied_steps_alone():
    """A step that loss scaling skips is none for the averages and thresholds either."""
    optimizer = RDA(1.0, l1=0.1, variant="published")
    scaled = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=1.0)
    variable = keras.Variable(np.ones((1, 2), "float32"), name="kernel")
    scaled.build([variable])
    for gradient in (np.inf, 0.5, 0.5):
        scaled.apply([ops.full((1, 2), gradient)])
    # Two steps count: −√2·(0.5 − 0.1), with a loss scale that was 1 and then ½.
    assert int(optimizer.iterations) == 2
    expected = -np.sqrt(2) * (0.5 / 0.5 - 0.1)
    np.testing.assert_allclose(ops.convert_to_numpy(variable), expected, rtol=1e-6)


@some("published")
def test_embeddings_frozen_layers_and_constraints(name):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Embedding(50, 8, name="embedding"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, name="frozen", trainable=False),
            keras.layers.Dense(10, "relu", kernel_constraint="non_neg"),
            keras.layers.Dense(4),
        ]
    )
    frozen = model.get_layer("frozen").get_weights()[0]
    # Half of this network does not learn, so less than elsewhere is left alive.
    options = {"l1": 1e-3} if name == "published" else {}
    compile_model(model, THRESHOLDING[name](**options), jit_compile=not on_tensorflow)
    rng = np.random.default_rng(0)
    model.fit(rng.integers(0, 50, (64, 5)), rng.integers(0, 4, 64), batch_size=2, verbose=0)
    check_zeros(model)
    assert not np.all(model.get_layer("embedding").get_weights()[0])
    assert (model.layers[-2].get_weights()[0] >= 0).all()
    np.testing.assert_array_equal(model.get_layer("frozen").get_weights()[0], frozen)


@tensorflow
@some("published")
def test_a_custom_train_step(name):
    check_same(trained(name, model=make_model_with_its_own_step()), plain(name))


@some("target")
def test_under_multi_optimizer(name):
    model = make_model()
    kernels = keras.optimizers.OptimizerMap(
        keras.optimizers.SGD(0.1), {".*kernel": THRESHOLDING[name]()}
    )
    both = keras.optimizers.MultiOptimizer(kernels)
    check_zeros(trained(name, model=model, optimizer=both))


@tensorflow
@ON_TWO_DEVICES
def test_two_replicas_of_a_mirrored_strategy_are_one_device(name, mirrored):
    models = []
    for scope in (contextlib.nullcontext(), mirrored.scope()):
        with scope:
            model = make_model()
            # Each replica would normalise its half of the batch alone.
            model.get_layer("norm").trainable = False
            compile_model(model, THRESHOLDING[name](), jit_compile=False)
        fit(model, epochs=4)
        models.append(model)
    check_same(models[0], weights(models[1]))
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        first, second = (v.numpy() for v in variable.value.values)
        np.testing.assert_array_equal(first, second, f"{name} {variable.path}")


@on_jax
@ON_TWO_DEVICES
def test_two_devices_under_data_parallel_are_one(name, data_parallel):
    import jax

    models = []
    for devices in (jax.devices(), jax.devices()[:1]):
        data_parallel(devices=devices)
        models.append(trained(name))
    check_same(models[0], weights(models[1]))
    for variable in models[0].trainable_variables:
        first, second = (np.asarray(s.data) for s in variable.value.addressable_shards)
        np.testing.assert_array_equal(first, second, name)
