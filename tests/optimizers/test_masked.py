"""What every optimizer with masks inherits."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse.callbacks.mask_update import MaskUpdate
from keras_sparse.masks.schedules import CosineSchedule
from keras_sparse.optimizers.deep_r import DeepR
from keras_sparse.optimizers.magnitude_pruning import MagnitudePruning
from keras_sparse.optimizers.rigl import RigL
from keras_sparse.optimizers.set import SET
from keras_sparse.optimizers.snip import SNIP
from keras_sparse.optimizers.sparse_momentum import SparseMomentum
from keras_sparse.optimizers.static_sparse import StaticSparse
from tests.optimizers.problems import equal_paths

from .matrix import (
    MASKED,
    STEPS_PER_EPOCH,
    check_masks,
    compile_model,
    fit,
    magnitude_pruning,
    make_data,
    make_model,
    masks_of,
    same_bits,
    thorough,
)

ALL = pytest.mark.parametrize("name", list(MASKED))


def kernels(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [
        keras.Variable(rng.standard_normal(shape).astype("float32"), name=f"kernel_{i}")
        for i, shape in enumerate(shapes)
    ]


def gradients_like(variables, seed):
    rng = np.random.default_rng(seed)
    return [
        ops.convert_to_tensor(rng.standard_normal(v.shape).astype("float32")) for v in variables
    ]


@pytest.mark.parametrize(
    ("ours", "stock"),
    [
        ({}, keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)),
        ({"nesterov": False}, keras.optimizers.SGD(0.1, momentum=0.9)),
        ({"momentum": 0.0}, keras.optimizers.SGD(0.1)),
        ({"inner": "adam", "learning_rate": 0.01}, keras.optimizers.Adam(0.01)),
    ],
    ids=["nesterov", "momentum", "sgd", "adam"],
)
def test_at_density_one_it_is_the_optimizer_of_keras(ours, stock):
    variables, expected = kernels((5, 4)), kernels((5, 4))
    optimizer = StaticSparse(**{"learning_rate": 0.1, "density": 1.0, **ours})
    for step in range(5):
        optimizer.apply(gradients_like(variables, step), variables)
        stock.apply(gradients_like(expected, step), expected)
    np.testing.assert_allclose(variables[0].numpy(), expected[0].numpy(), rtol=2e-6, atol=1e-7)


def test_one_step_by_hand():
    kernel = keras.Variable([[1.0, -2.0, 3.0, -4.0]], name="kernel")
    bias = keras.Variable([1.0], name="bias")
    optimizer = StaticSparse(0.5, density=0.5, momentum=0.0)
    optimizer.build([kernel, bias])
    ((_, mask),) = masks_of(optimizer).items()
    np.testing.assert_array_equal(kernel.numpy(), np.where(mask, [[1, -2, 3, -4]], 0))
    optimizer.apply([ops.array([[1.0, 1.0, 1.0, 1.0]]), ops.array([2.0])])
    np.testing.assert_array_equal(kernel.numpy(), np.where(mask, [[0.5, -2.5, 2.5, -4.5]], 0))
    np.testing.assert_array_equal(bias.numpy(), [0.0])


def test_fit_is_sparse_from_its_first_batch():
    # TensorFlow builds the optimizer while it traces the first step: an assign there is lost.
    reference = compile_model(make_model(), StaticSparse(0.0, density=0.2, seed=3))
    reference.optimizer.build(reference.trainable_variables)
    x, y = make_data()
    expected = reference.train_on_batch(x[:8], y[:8])
    model = compile_model(make_model(), StaticSparse(0.0, density=0.2, seed=3))
    assert model.train_on_batch(x[:8], y[:8]) == pytest.approx(expected, abs=0)
    check_masks(model)
    same_bits(model.weights, reference.weights)


def test_masks_take_a_byte_for_each_weight():
    optimizer = SparseMomentum(0.1, density=0.1)
    optimizer.build(kernels((30, 20), (20, 10)))
    assert {mask.dtype for mask in optimizer.masks.values()} == {"bool"}
    floats = sum(np.prod(v.shape) for v in optimizer.variables if v.dtype == "float32")
    assert floats == 800 + 1  # one slot for each weight, and the learning rate


def ending_dsr(**kwargs):
    return MASKED["DSR"](prune_rate=CosineSchedule(0.2, 0.0, end=12), **kwargs)


@pytest.mark.parametrize(
    "make",
    thorough(
        [MASKED["SparseMomentum"], MASKED["SET"], ending_dsr, magnitude_pruning],
        ending_dsr,
        magnitude_pruning,
    ),
    ids=["SparseMomentum", "SET", "DSR", "MagnitudePruning"],
)
def test_updates_inside_and_between_steps_give_the_same_bits(make):
    inside = compile_model(make_model(), make(update_every=2))
    between = compile_model(make_model(), make(update_every=None))
    # To beyond the end of the schedules.
    fit(inside, epochs=4)
    fit(between, epochs=4, callbacks=[MaskUpdate(2)])
    same_bits(inside.optimizer.variables, between.optimizer.variables)
    same_bits(inside.weights, between.weights)


@pytest.mark.parametrize("micro_steps", [None, 2])
def test_between_steps_the_count_is_read_when_an_update_may_be_due(micro_steps):
    read, updated = [], []

    class Watched(SET):
        def batches_to_update(self, every):
            read.append(int(self._iterations))
            return super().batches_to_update(every)

        def update_masks(self):
            updated.append(int(self._iterations))
            super().update_masks()

    optimizer = Watched(update_every=None, gradient_accumulation_steps=micro_steps)
    model = compile_model(make_model(), optimizer, build=True)
    fit(model, epochs=4, callbacks=[MaskUpdate(3)])
    batches = 4 * STEPS_PER_EPOCH
    period = 3 * (micro_steps or 1)
    assert updated == list(range(period, batches, period))
    # Also at the start of each epoch, and every three batches where gradients are accumulated.
    starts = range(0, batches, STEPS_PER_EPOCH)
    assert set(updated) < set(read) <= {*starts, *range(0, batches, 3)}


def test_by_epoch_no_batch_looks_at_the_model():
    # On JAX a look brings all variables up to date.
    class Unseen(MaskUpdate):
        @property
        def model(self):
            raise AssertionError("The model was looked at.")

    Unseen("epoch").on_train_batch_begin(0)


@pytest.mark.parametrize("micro_steps", [None, 2])
def test_an_epoch_is_its_number_of_steps_and_nothing_follows_the_last(micro_steps):
    make = functools.partial(
        MASKED["SET"], distribution="uniform", gradient_accumulation_steps=micro_steps
    )
    by_epoch = make(update_every="epoch", steps_per_epoch=STEPS_PER_EPOCH)
    by_steps = make(update_every=STEPS_PER_EPOCH // (micro_steps or 1))
    by_callback = make(update_every=None)
    models = [compile_model(make_model(), o) for o in (by_epoch, by_steps, by_callback)]
    fit(models[0], epochs=1)
    first_masks = np.concatenate([m.ravel() for m in masks_of(by_epoch).values()])
    random = StaticSparse(density=0.2, distribution="uniform", seed=1)
    random.build(make_model().trainable_variables)
    np.testing.assert_array_equal(
        first_masks, np.concatenate([m.ravel() for m in masks_of(random).values()])
    )
    fit(models[0], epochs=2)
    fit(models[1], epochs=3)
    fit(models[2], epochs=3, callbacks=[MaskUpdate("epoch")])
    same_bits(models[0].optimizer.variables, models[1].optimizer.variables)
    same_bits(models[2].optimizer.variables, models[1].optimizer.variables)
    assert (np.concatenate([m.ravel() for m in masks_of(by_epoch).values()]) != first_masks).any()


def test_gradients_that_are_not_finite_count_as_zero():
    clean, dirty = kernels((6, 5)), kernels((6, 5))
    make = MASKED["SparseMomentum"]
    optimizers = [make(update_every=1), make(update_every=1)]
    for step in range(3):
        gradient = ops.convert_to_numpy(gradients_like(clean, step)[0]).copy()
        row = 2 - step  # the first one when masks change
        gradient[row, :] = 0
        optimizers[0].apply([ops.convert_to_tensor(gradient)], clean)
        gradient[row, :3], gradient[row, 3:] = np.nan, np.inf
        optimizers[1].apply([ops.convert_to_tensor(gradient)], dirty)
    same_bits(clean, dirty)
    same_bits(*(o.variables for o in optimizers))


def test_a_variable_without_gradient_stays_in_the_budget():
    variables = kernels((6, 5), (5, 6))
    optimizer = MASKED["SparseMomentum"](update_every=1)
    for step in range(4):
        optimizer.apply([gradients_like(variables, step)[0], None], variables)
    assert sum(m.sum() for m in masks_of(optimizer).values()) == 12
    for v, mask in zip(variables, masks_of(optimizer).values(), strict=True):
        assert not v.numpy()[~mask].any()


def test_the_moving_average_is_sparse_too():
    model = compile_model(make_model(), MASKED["SparseMomentum"](use_ema=True, update_every=1))
    x, y = make_data()
    for start in range(0, 24, 8):
        model.train_on_batch(x[start : start + 8], y[start : start + 8])
        masks = masks_of(model.optimizer)
        averages = model.optimizer._model_variables_moving_average
        for v, average in zip(model.trainable_variables, averages, strict=True):
            if v.path in masks:
                assert not ops.convert_to_numpy(average)[~masks[v.path]].any()
                assert ops.convert_to_numpy(average)[masks[v.path]].any()


def test_names_choose_what_is_dense():
    model = make_model()
    optimizer = StaticSparse(density=0.5, exclude=["conv/", model.get_layer("head")])
    optimizer.build(model.trainable_variables)
    assert [path.split("/")[-2] for path in optimizer.masks] == ["hidden"]


def test_a_users_own_distribution():
    model = make_model()
    optimizer = StaticSparse(density=0.1, distribution={"conv": 1.0, "head": 0.5})
    optimizer.build(model.trainable_variables)
    assert [int(m.sum()) for m in masks_of(optimizer).values()] == [36, 144, 20]


@ALL
def test_a_config_makes_the_same_optimizer(name):
    optimizer = MASKED[name](momentum=0.5, exclude=["^head"], clipnorm=1.0)
    config = keras.saving.serialize_keras_object(optimizer)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert config["registered_name"] == f"keras_sparse>{name}"
    by_name = keras.optimizers.get({"class_name": f"keras_sparse>{name}", "config": {}})
    assert type(by_name) is type(optimizer)


def test_a_checkpoint_keeps_the_seed():
    optimizers = [MASKED["SET"](seed=None, update_every=1) for _ in range(2)]
    variables = [kernels((8, 8)), kernels((8, 8))]
    for optimizer, own in zip(optimizers, variables, strict=True):
        optimizer.build(own)
    optimizers[1].set_weights([v.numpy() for v in optimizers[0].variables])
    variables[1][0].assign(variables[0][0])
    for optimizer, own in zip(optimizers, variables, strict=True):
        for step in range(3):
            optimizer.apply(gradients_like(own, step))
    same_bits(*variables)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StaticSparse(momentum=1.0), "Received: momentum=1.0"),
        (lambda: StaticSparse(inner="nonsense"), "Received: inner='nonsense'"),
        (lambda: SET(update_every=0), "Received: update_every=0"),
        (lambda: SET(update_every="epoch"), "give `steps_per_epoch`"),
        (lambda: SET(prune_rate=2.0), "Received: prune_rate=2.0"),
        (lambda: SparseMomentum(growth="up"), "Received: growth='up'"),
        (lambda: SparseMomentum(prune="all"), "Received: prune='all'"),
        (lambda: SparseMomentum(redistribution="all"), "Received: redistribution='all'"),
        (lambda: SparseMomentum(momentum=0.0), "needs a momentum above 0"),
        (lambda: DeepR(l1=-1.0), "Received: l1=-1.0"),
        (lambda: DeepR(inner="adam"), "Received: inner='adam'"),
        (lambda: MagnitudePruning(scope="all"), "Received: scope='all'"),
        (lambda: MaskUpdate(0), "Received: every=0"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (StaticSparse(density=0.01, distribution="uniform"), "would keep none of its 2 weights"),
        (MASKED["SNIP"](density=0.01), "only 1 of 102 weights are kept"),
        (MagnitudePruning(sparsity=0.99, scope="global"), "only 1 of 102 weights are kept"),
        (MagnitudePruning(sparsity=0.9), "would keep none of its 2 weights"),
        (StaticSparse(exclude="kernel"), "finds no weight to make sparse"),
    ],
)
def test_budgets_that_empty_a_layer_are_refused(optimizer, message):
    with pytest.raises(ValueError, match=message):
        optimizer.build(kernels((10, 10), (2, 1)))


def test_a_part_of_the_variables_is_refused():
    variables = kernels((5, 5), (5, 5))
    optimizer = SET()
    optimizer.build(variables)
    with pytest.raises(ValueError, match="Received: 1 variables, built with 2"):
        optimizer.apply([ops.ones((5, 5))], variables[:1])


def test_update_masks_says_what_it_needs():
    with pytest.raises(ValueError, match="needs a built optimizer"):
        SET().update_masks()
    rigl = RigL(update_every=None)
    rigl.build(kernels((5, 5)))
    with pytest.raises(ValueError, match="RigL grows by gradient"):
        rigl.update_masks()


def test_the_callback_refuses_what_updates_itself():
    model = compile_model(make_model(), SET(update_every=2))
    with pytest.raises(ValueError, match="update_every=None"):
        fit(model, callbacks=[MaskUpdate("epoch")])
    model = compile_model(make_model(), SET(update_every=None), steps_per_execution=2)
    with pytest.raises(ValueError, match="every=3, steps_per_execution=2"):
        fit(model, callbacks=[MaskUpdate(3)])
    model = compile_model(make_model(), SET(update_every=None), steps_per_execution=4)
    with pytest.raises(ValueError, match=f"steps_per_execution=4, {STEPS_PER_EPOCH} steps"):
        fit(model, callbacks=[MaskUpdate(4)])


@pytest.mark.parametrize(
    ("make", "pause"), [(functools.partial(RigL, update_every=2), 2), (SNIP, 0)]
)
def test_a_step_that_trains_nothing_does_not_decay_weights(make, pause):
    optimizer = make(0.1, momentum=0.0, density=0.5, weight_decay=0.1, seed=0)
    variables = [*kernels((6, 5)), keras.Variable(np.ones(5, "float32"), name="bias")]
    optimizer.build(variables)
    for _ in range(pause + 1):
        before = ops.convert_to_numpy(variables[1]).copy()
        optimizer.apply(gradients_like(variables, 0))
    np.testing.assert_array_equal(ops.convert_to_numpy(variables[1]), before)
    # The next one does.
    optimizer.apply([ops.zeros(v.shape) for v in variables])
    assert (ops.convert_to_numpy(variables[1]) < before).all()


def test_an_inner_optimizer_is_for_one_optimizer():
    inner = keras.optimizers.SGD(0.1)
    first, second = StaticSparse(inner=inner), StaticSparse(inner=inner)
    first.build(kernels((6, 5)))
    with pytest.raises(ValueError, match="`inner` is built already"):
        second.build(kernels((6, 5)))


def test_masks_before_the_optimizer_is_built():
    with pytest.raises(AttributeError, match="`masks` exist once the optimizer is built"):
        _ = StaticSparse().masks


def test_masks_of_weights_with_equal_paths():
    model = equal_paths()
    optimizer = StaticSparse(density=0.5)
    optimizer.build(model.trainable_variables)
    shapes = {path: tuple(mask.shape) for path, mask in optimizer.masks.items()}
    assert shapes == {"c/kernel": (6, 4), "c/kernel_1": (4, 4), "out/kernel": (4, 3)}
