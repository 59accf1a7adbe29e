"""Any optimizer of Keras trains inside the masks, and masks start from the zeros of a model."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import SET, SNIP, MagnitudePruning, RigL, SparseMomentum, StaticSparse, _keras
from keras_sparse.optimizers.deep_r import DeepR
from tests.on_keras import KERAS_OPTIMIZERS

from .matrix import compile_model, fit, make_model, same_bits


def variables():
    rng = np.random.default_rng(0)
    shapes = {"kernel": (6, 8), "bias": (8,)}
    return [keras.Variable(rng.normal(0, 1, s), name=n, dtype="float32") for n, s in shapes.items()]


def gradients(steps=3):
    rng = np.random.default_rng(1)
    return [[rng.normal(0, 1, s).astype("float32") for s in ((6, 8), (8,))] for _ in range(steps)]


@pytest.mark.parametrize("make", KERAS_OPTIMIZERS)
def test_trains_as_that_optimizer_on_masked_weights(make):
    masked, plain = variables(), variables()
    optimizer = StaticSparse(density=0.5, inner=KERAS_OPTIMIZERS[make](), seed=0)
    optimizer.build(masked)
    mask = ops.convert_to_numpy(next(iter(optimizer.masks.values())))
    reference = KERAS_OPTIMIZERS[make]()
    plain[0].assign(ops.convert_to_numpy(plain[0]) * mask)
    reference.build(plain)
    for kernel, bias in gradients():
        optimizer.apply([ops.convert_to_tensor(g) for g in (kernel, bias)])
        reference.apply([ops.convert_to_tensor(g) for g in (kernel * mask, bias)])
        plain[0].assign(ops.convert_to_numpy(plain[0]) * mask)
    for found, wanted in zip(masked, plain, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert not ops.convert_to_numpy(masked[0])[~mask].any()
    assert int(optimizer.iterations) == 3


@pytest.mark.parametrize(
    "inner",
    [
        keras.optimizers.Ftrl(0.05),
        keras.optimizers.Adagrad(0.1, initial_accumulator_value=0.1),
        keras.optimizers.Adadelta(0.1),
    ],
    ids=lambda inner: inner.name,
)
def test_a_weight_that_grows_starts_with_the_state_of_a_new_weight(inner):
    new = variables()
    config = keras.optimizers.serialize(inner)
    optimizer = SET(density=0.3, inner=inner, update_every=2, prune_rate=0.5, seed=0)
    optimizer.build(new)
    (mask,) = optimizer.masks.values()
    first = ops.convert_to_numpy(mask)
    # A weight whose gradient is zero must not become NaN either.
    steps = [[np.zeros((6, 8), "float32"), bias] for _, bias in gradients()]
    for step in steps:
        optimizer.apply([ops.convert_to_tensor(g) for g in step])
    grown = ops.convert_to_numpy(mask) & ~first
    assert grown.any()
    assert all(np.isfinite(ops.convert_to_numpy(v)).all() for v in new)
    fresh = keras.optimizers.deserialize(config)
    fresh.build(variables())
    outside = ~ops.convert_to_numpy(mask)
    for slots, olds in zip(optimizer._inner.slots, _keras.slots(fresh).values(), strict=True):
        slot, old = (ops.convert_to_numpy(each[0])[outside] for each in (slots, olds))
        np.testing.assert_array_equal(slot, old)


def clipped_step(**clipping):
    """The changes of kernel and bias by one step, with a NaN outside the mask."""
    kernel, bias = variables()
    optimizer = StaticSparse(0.1, density=0.5, momentum=0.0, seed=0, **clipping)
    optimizer.build([kernel, bias])
    (mask,) = (ops.convert_to_numpy(m) for m in optimizer.masks.values())
    gradient = np.ones((6, 8), "float32")
    gradient[tuple(np.argwhere(~mask)[0])] = np.nan
    before = [ops.convert_to_numpy(v).copy() for v in (kernel, bias)]
    optimizer.apply([ops.convert_to_tensor(g) for g in (gradient, np.ones(8, "float32"))])
    return [ops.convert_to_numpy(v) - b for v, b in zip((kernel, bias), before, strict=True)], mask


@pytest.mark.parametrize("name", ["clipnorm", "global_clipnorm"])
def test_clipping_counts_the_weights_inside_a_mask_that_never_changes(name):
    (kernel, bias), mask = clipped_step(**{name: 1.0})
    both = [mask.sum(), 8]
    total = [sum(both)] * 2 if name == "global_clipnorm" else both
    np.testing.assert_allclose(kernel, -0.1 * mask / np.sqrt(total[0]), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(bias, -0.1 / np.sqrt(total[1]), rtol=1e-4)


@pytest.mark.parametrize(
    "optimizer", [RigL(0.1, clipvalue=0.5), SNIP(0.1, clipvalue=0.5)], ids=["rigl", "snip"]
)
def test_gradients_of_equal_size_are_no_scores(optimizer):
    with pytest.raises(ValueError, match=r"give `clipnorm`.*Received: clipvalue=0\.5"):
        optimizer.build(variables())


def test_goes_on_after_saving_with_a_state_that_belongs_to_no_variable(tmp_path):
    """Nadam's product, under `fit`, with what Keras does around a step."""
    inner = keras.optimizers.Nadam(0.01, clipnorm=1.0, gradient_accumulation_steps=2)
    model = compile_model(make_model(), RigL(density=0.2, inner=inner, update_every=2, seed=1))
    assert model.optimizer.clipnorm == 1.0
    assert model.optimizer.gradient_accumulation_steps == 2
    fit(model)
    product = model.optimizer._inner.optimizer._u_product
    assert 0 < float(ops.convert_to_numpy(product)) < 0.9
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer.inner) is keras.optimizers.Nadam
    same_bits(model.optimizer.variables, loaded.optimizer.variables)
    for each in (model, loaded):
        fit(each, epochs=1)
    same_bits(model.weights, loaded.weights)


def test_decays_what_the_inner_optimizer_decays():
    kept = variables()
    inner = keras.optimizers.AdamW(0.1, weight_decay=0.5)
    inner.exclude_from_weight_decay(var_names=["bias"])
    optimizer = StaticSparse(density=1.0, inner=inner)
    optimizer.build(kept)
    before = [ops.convert_to_numpy(v) for v in kept]
    optimizer.apply([ops.zeros(v.shape) for v in kept])
    np.testing.assert_allclose(kept[0], 0.95 * before[0], rtol=1e-5)
    np.testing.assert_array_equal(kept[1], before[1])


def test_a_schedule_of_the_inner_optimizer_is_the_learning_rate():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.2, 1, 0.5)
    optimizer = StaticSparse(inner=keras.optimizers.SGD(schedule))
    optimizer.build(variables())
    optimizer.iterations.assign(1)
    assert float(optimizer.learning_rate) == pytest.approx(0.1)
    again = StaticSparse.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StaticSparse(inner=RigL()), "must be a dense optimizer"),
        (
            lambda: StaticSparse(inner=keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())),
            "single optimizer",
        ),
        (lambda: DeepR(inner=keras.optimizers.Adam()), "random walk on SGD"),
        (lambda: StaticSparse(inner="rmsprop", momentum=0.9), "RMSprop.* momentum=0.9, nesterov=N"),
        (lambda: StaticSparse(inner=keras.optimizers.SGD(), nesterov=True), "SGD.* nesterov=True"),
        (lambda: RigL(distribution="2:4"), "would lose the pattern"),
        (lambda: StaticSparse(distribution="4:2"), "`distribution` is one of"),
        (lambda: StaticSparse(density=0.5, distribution="zeros"), "leave `density` out"),
        (
            lambda: SparseMomentum(inner=keras.optimizers.Adagrad()).build(variables()),
            "Adagrad has none",
        ),
        (lambda: StaticSparse(distribution="zeros").build(variables()), "none of them is zero"),
        (
            lambda: StaticSparse(distribution="2:4").build(variables()),
            r"inputs that 4 divides, and 'kernel' has 6",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def pruned():
    """A model of which 60% is zero, as `MagnitudePruning` leaves one."""
    model = make_model()
    MagnitudePruning(sparsity=0.6).build(model.trainable_variables)
    return model


@pytest.mark.parametrize("method", [StaticSparse, SparseMomentum])
def test_starts_from_the_zeros_of_the_weights(method, recwarn):
    model = pruned()
    before = model.get_weights()
    optimizer = method(inner=keras.optimizers.AdamW(1e-3), distribution="zeros")
    compile_model(model, optimizer)
    for weight, value in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    masks = [ops.convert_to_numpy(mask) for mask in optimizer.masks.values()]
    assert sum(mask.sum() for mask in masks) == pytest.approx(0.4 * 1516, abs=3)
    assert not [w for w in recwarn if "sparse already" in str(w.message)]
    if method is StaticSparse:
        fit(model, epochs=1)
        for path, mask in optimizer.masks.items():
            value = next(v for v in model.weights if v.path == path)
            np.testing.assert_array_equal(
                ops.convert_to_numpy(value) != 0, ops.convert_to_numpy(mask)
            )


def test_a_model_that_keeps_its_zeros_is_saved_and_goes_on(tmp_path):
    """Keras builds the optimizer of a file before it loads the weights, of which none is zero."""
    model = compile_model(pruned(), StaticSparse(distribution="zeros", seed=0))
    fit(model, epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    same_bits(model.optimizer.variables, loaded.optimizer.variables)
    for each in (model, loaded):
        fit(each, epochs=1)
    same_bits(model.weights, loaded.weights)


UNTRAINED = {
    "one shot": lambda: MagnitudePruning(sparsity=0.5, seed=0),
    "2:4": lambda: StaticSparse(distribution="2:4", exclude="conv|head", seed=0),
    "zeros": lambda: StaticSparse(distribution="zeros", seed=0),
    "signs": lambda: DeepR(density=0.5, seed=0),
}


@pytest.mark.parametrize("name", UNTRAINED)
def test_saved_before_it_was_built_it_starts_from_the_loaded_weights(name, tmp_path):
    model = pruned() if name == "zeros" else make_model()
    model.compile(UNTRAINED[name](), "mse")
    model.save(tmp_path / "model.keras")
    keras.utils.set_random_seed(9)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    model.optimizer.build(model.trainable_variables)
    same_bits(loaded.optimizer.variables, model.optimizer.variables)
    same_bits(loaded.weights, model.weights)


def test_zeros_that_do_not_come_are_said():
    saved = StaticSparse(distribution="zeros")
    saved.build([keras.Variable(np.eye(6, 8), name="kernel"), variables()[1]])
    optimizer = StaticSparse.from_config(saved.get_config())
    optimizer.build(variables())
    with pytest.raises(ValueError, match="none of them was zero when this optimizer"):
        optimizer.apply(gradients()[0])


@pytest.mark.parametrize(
    ("method", "name"), [(StaticSparse, "SGD"), (SparseMomentum, "Adam"), (DeepR, "Sgd")]
)
def test_a_name_in_other_letters_is_that_name(method, name):
    given, plain = (method(inner=n, name="x", seed=0) for n in (name, name.lower()))
    assert given.get_config() == plain.get_config()
    assert given.inner == name.lower()


@pytest.mark.parametrize("method", [StaticSparse, SparseMomentum, DeepR])
def test_files_with_a_momentum_that_is_not_used_are_read(method):
    config = method(inner=keras.optimizers.SGD(0.1, 0.5), seed=0).get_config()
    again = method.from_config({**config, "momentum": 0.9, "nesterov": True})
    assert again.get_config() == config


@pytest.mark.parametrize("name", sorted(KERAS_OPTIMIZERS))
def test_the_config_of_any_optimizer_is_one(name):
    optimizer = StaticSparse(inner=KERAS_OPTIMIZERS[name](), seed=0)
    again = StaticSparse.from_config(optimizer.get_config())
    assert type(again.inner) is type(optimizer.inner)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("method", [RigL, SparseMomentum])
def test_new_masks_on_a_sparse_model_are_warned_of(method):
    with pytest.warns(UserWarning, match=r"60% of its weights are zero.*distribution='zeros'"):
        method(density=0.2).build(pruned().trainable_variables)


def test_two_of_four():
    kernel = keras.Variable(np.arange(48.0).reshape(8, 6)[::-1] - 20, name="kernel")
    optimizer = StaticSparse(distribution="2:4")
    optimizer.build([kernel])
    (mask,) = map(ops.convert_to_numpy, optimizer.masks.values())
    np.testing.assert_array_equal(mask.reshape(2, 4, 6).sum(1), 2)
    sizes = np.abs(np.arange(48.0).reshape(8, 6)[::-1] - 20).reshape(2, 4, 6)
    kept = np.where(mask.reshape(2, 4, 6), sizes, np.inf).min(1)
    lost = np.where(mask.reshape(2, 4, 6), -np.inf, sizes).max(1)
    assert (kept >= lost).all()
