"""Plain `compile` and `fit` in every way that Keras has, for every optimizer with masks."""

import itertools

import keras
import numpy as np
import pytest

from keras_sparse.callbacks import MaskUpdate, SeparateUpdates

from .matrix import (
    MASKED,
    check_masks,
    compile_model,
    fit,
    inner,
    make_data,
    make_model,
    make_model_with_its_own_step,
    masks_of,
    same_bits,
    thorough,
)

tensorflow = pytest.mark.tensorflow
on_jax = pytest.mark.jax
on_tensorflow = keras.backend.backend() == "tensorflow"


def some(*kept):
    """One looks across layers, one needs gradients and skips steps, one goes by size.

    By default each of the three is tried in some of the ways, and each way with one of them.
    """
    return pytest.mark.parametrize(
        "name", thorough(["SparseMomentum", "RigL", "MagnitudePruning"], *kept)
    )


ALL = pytest.mark.parametrize("name", list(MASKED))


def moved(model):
    """Whether training changed the weights inside the masks, and left no NaN."""
    before, after = make_model().get_weights(), model.get_weights()
    assert all(np.isfinite(w).all() for w in after)
    return any((a != b).any() for a, b in zip(before, after, strict=True))


@some("SparseMomentum", "RigL", "MagnitudePruning")
def test_fit_without_a_callback_and_on_from_a_file_to_the_same_bits(name, tmp_path):
    """Those whose first masks depend on weights are built while the step is traced, as by `fit`."""
    build = name not in {"SNIP", "DeepR", "MagnitudePruning"}
    model = compile_model(make_model(), MASKED[name](), build=build, jit_compile=not on_tensorflow)
    fit(model)
    check_masks(model)
    assert moved(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    check_masks(loaded)
    same_bits(loaded.optimizer.variables, model.optimizer.variables)
    for each in (model, loaded):
        fit(each, epochs=1)
    same_bits(loaded.weights, model.weights)
    same_bits(loaded.optimizer.variables, model.optimizer.variables)


@tensorflow
@pytest.mark.xla
@pytest.mark.parametrize("name", thorough(MASKED, "RigL"))
def test_fit_with_xla_keeps_the_budget(name):
    model = compile_model(make_model(), MASKED[name](), jit_compile=True)
    fit(model)
    check_masks(model)


@some("SparseMomentum")
def test_fit_eagerly(name):
    model = compile_model(make_model(), MASKED[name](), run_eagerly=True)
    x, y = make_data()
    model.fit(x[:40], y[:40], batch_size=4, verbose=0)
    check_masks(model)


@some("RigL")
def test_several_steps_per_execution(name):
    model = compile_model(make_model(), MASKED[name](), steps_per_execution=3)
    fit(model)
    check_masks(model)


@pytest.mark.parametrize("name", thorough(MASKED, "RigL", "DeepR", "SNIP"))
def test_gradient_accumulation_updates_once_for_each_applied_step(name):
    model = compile_model(make_model(), MASKED[name](gradient_accumulation_steps=3))
    seen = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            optimizer = self.model.optimizer
            masks = np.concatenate([m.ravel() for m in masks_of(optimizer).values()])
            seen.append((int(optimizer._iterations), masks.tobytes()))

    fit(model, epochs=4, callbacks=[Record()])
    check_masks(model)
    changes = [after for (_, a), (after, b) in itertools.pairwise(seen) if a != b]
    # Step t ends with micro step 3(t + 1), and masks change in steps 2, 4 and 6 or, DeepR, in all.
    allowed = {"DeepR": {6, 9, 12, 15, 18, 21, 24}, "SNIP": {3}, "StaticSparse": set()}
    allowed = allowed.get(name, {9, 15, 21})
    assert set(changes) <= allowed
    assert changes or not allowed


OPTIONS = [
    {"clipnorm": 0.1},
    pytest.param({"global_clipnorm": 0.1}, marks=pytest.mark.slow),
    pytest.param({"clipvalue": 0.01}, marks=pytest.mark.slow),
    {"loss_scale_factor": 128.0, "weight_decay": 0.01},
    pytest.param({"use_ema": True}, marks=pytest.mark.slow),
    {
        "use_ema": True,
        "ema_overwrite_frequency": 3,
        "learning_rate": keras.optimizers.schedules.ExponentialDecay(0.05, 4, 0.5),
    },
    {"inner": "adam", "learning_rate": 0.01},
    pytest.param({"momentum": 0.5, "nesterov": False}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("options", OPTIONS, ids="-".join)
def test_arguments_of_keras(options):
    # Accumulation, which changes when a step happens, is tested for all of them above.
    name = "SET" if "clipvalue" in options else "SparseMomentum"
    name = "RigL" if "norm" in "".join(options) else name
    model = compile_model(make_model(), MASKED[name](**options))
    fit(model)
    check_masks(model)
    assert moved(model)


@pytest.mark.parametrize(
    ("name", "policy"),
    thorough(
        list(
            itertools.product(
                ["SparseMomentum", "RigL"], ["mixed_float16", "mixed_bfloat16", "bfloat16"]
            )
        ),
        ("SparseMomentum", "mixed_float16"),
        ("RigL", "bfloat16"),
    ),
)
def test_mixed_precision(name, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = compile_model(make_model(), MASKED[name]())
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model, epochs=3)
    check_masks(model)
    assert inner(model.optimizer).iterations > 0


def test_a_step_with_infinite_gradients_is_skipped_under_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compile_model(make_model(), MASKED["SparseMomentum"]())
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = make_data()
    x[8:16] = np.inf
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    check_masks(model)
    assert int(inner(model.optimizer).iterations) < 12


@some("SparseMomentum")
def test_embeddings_frozen_layers_and_constraints(name):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Embedding(50, 8, name="embedding"),
            keras.layers.Flatten(),
            keras.layers.Dense(16, name="frozen", trainable=False),
            keras.layers.Dense(10, kernel_constraint=keras.constraints.MinMaxNorm(0.1, 0.9)),
            keras.layers.Dense(4, kernel_constraint=lambda w: w + 0.01),
        ]
    )
    frozen = model.get_layer("frozen").get_weights()[0]
    compile_model(model, MASKED[name](), jit_compile=not on_tensorflow)
    rng = np.random.default_rng(0)
    model.fit(rng.integers(0, 50, (64, 5)), rng.integers(0, 4, 64), batch_size=4, verbose=0)
    check_masks(model)
    assert any(path.endswith("embeddings") for path in masks_of(model.optimizer))
    np.testing.assert_array_equal(model.get_layer("frozen").get_weights()[0], frozen)


@tensorflow
@some("MagnitudePruning")
def test_a_custom_train_step(name):
    model = compile_model(make_model_with_its_own_step(), MASKED[name]())
    fit(model)
    check_masks(model)


@some("RigL")
def test_a_model_that_is_built_by_its_first_step(name):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(10), keras.layers.Dense(4)]
    )
    compile_model(model, MASKED[name](), jit_compile=not on_tensorflow)
    fit(model)
    check_masks(model)


# What gives masks in a step, outside it, before the first one, and from a callback.
DISTRIBUTED = pytest.mark.parametrize(
    ("name", "arguments", "callbacks"),
    [
        ("SparseMomentum", {}, ()),
        pytest.param("RigL", {}, (SeparateUpdates,), marks=pytest.mark.slow),
        pytest.param("SNIP", {}, (), marks=pytest.mark.slow),
        pytest.param(
            "SET", {"update_every": None}, (lambda: MaskUpdate(2),), marks=pytest.mark.slow
        ),
    ],
    ids=["SparseMomentum", "RigL", "SNIP", "SET"],
)


@tensorflow
@DISTRIBUTED
def test_two_replicas_of_a_mirrored_strategy_keep_the_same_masks(
    name, arguments, callbacks, mirrored
):
    with mirrored.scope():
        model = compile_model(make_model(), MASKED[name](**arguments), jit_compile=False)
    fit(model, callbacks=[make() for make in callbacks])
    check_masks(model)
    for variable in [*model.trainable_variables, *model.optimizer.variables]:
        first, second = (v.numpy() for v in variable.value.values)
        np.testing.assert_array_equal(first, second, f"{name} {variable.path}")


@on_jax
@DISTRIBUTED
def test_two_devices_under_data_parallel_keep_the_same_masks(
    name, arguments, callbacks, data_parallel
):
    data_parallel()
    model = compile_model(make_model(), MASKED[name](**arguments))
    fit(model, callbacks=[make() for make in callbacks])
    check_masks(model)
    for mask in model.optimizer.masks.values():
        first, second = (np.asarray(s.data) for s in mask.value.addressable_shards)
        np.testing.assert_array_equal(first, second, name)


@on_jax
@some("SparseMomentum", "RigL")
def test_a_stateless_loop(name):
    import jax

    optimizer = MASKED[name]()
    variables = [keras.Variable(np.ones((6, 5), "float32"), name="kernel")]
    optimizer.build(variables)
    step = jax.jit(optimizer.stateless_apply)
    weights, state = [v.value for v in variables], [v.value for v in optimizer.variables]
    rng = np.random.default_rng(0)
    for _ in range(8):
        gradients = [rng.standard_normal((6, 5)).astype("float32")]
        weights, state = step(state, gradients, weights)
    for v, value in zip(optimizer.variables, state, strict=True):
        v.assign(value)
    (mask,) = masks_of(optimizer).values()
    assert mask.sum() == 6
    assert not np.asarray(weights[0])[~mask].any()
    assert np.asarray(weights[0])[mask].all()
