"""What masked optimizers do where nothing is named, and how their schedules end."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import (
    DSR,
    SET,
    SNIP,
    DeepR,
    MagnitudePruning,
    RigL,
    SparseMomentum,
    StaticSparse,
)
from keras_sparse.callbacks import ScheduleOverTraining
from keras_sparse.masks.distributions import layer_budgets
from keras_sparse.masks.schedules import (
    ConstantSchedule,
    CosineSchedule,
    CubicSchedule,
    InverseTimeSchedule,
)

from .matrix import MASKED, STEPS_PER_EPOCH, compile_model, make_model, masks_of

INNER = [StaticSparse, SparseMomentum, RigL, SET, DSR, SNIP, MagnitudePruning]


def rate_of(optimizer):
    return float(ops.convert_to_numpy(optimizer.learning_rate))


@pytest.mark.parametrize("method", INNER)
@pytest.mark.parametrize(
    ("given", "inner", "rate"),
    [
        ({}, "adam", 3e-3),
        ({"inner": "adam"}, "adam", 3e-3),
        ({"inner": "sgd"}, "sgd", 0.03),
        ({"learning_rate": 0.1}, "sgd", 0.1),
        ({"learning_rate": 0.1, "inner": "adam"}, "adam", 0.1),
    ],
    ids=str,
)
def test_the_rate_fits_the_inner_rule(method, given, inner, rate):
    optimizer = method(**given)
    assert optimizer.inner == inner
    assert rate_of(optimizer) == pytest.approx(rate)
    again = method.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()


def test_a_prune_rate_falls_however_long_the_training_is():
    for method in (SparseMomentum, RigL, SET, DSR):
        schedule = method().prune_rate
        assert [schedule(step) / schedule(0) for step in (0, 500, 2000)] == pytest.approx(
            [1, 0.5, 0.2]
        )
    schedule = InverseTimeSchedule(0.5, halved_at=10)
    assert schedule(1000) == schedule(2000) == 0.5 / 101


def test_pruning_begins_dense_and_small_layers_stay_denser():
    model = make_model()
    optimizer = MagnitudePruning()
    optimizer.build(model.trainable_variables)
    assert all(mask.all() for mask in masks_of(optimizer).values())
    (last,) = optimizer._amounts([optimizer.sparsity.end])
    shapes = [mask.shape for mask in masks_of(optimizer).values()]
    assert list(last) == layer_budgets(shapes, list(optimizer.masks), 0.1, "erk")
    amounts = optimizer._amounts(range(0, 320, 20))
    assert (np.diff(amounts, axis=0) <= 0).all() or (amounts >= last).all()
    assert MagnitudePruning(sparsity=0.9).scope == "layer"


def test_deep_r_starts_with_the_norm_of_a_dense_layer():
    model = make_model()
    before = {v.path: ops.convert_to_numpy(v) for v in model.trainable_variables}
    optimizer = DeepR()
    optimizer.build(model.trainable_variables)
    for v in model.trainable_variables:
        if v.path in optimizer.masks:
            after = ops.convert_to_numpy(v)
            norms = np.linalg.norm(after), np.linalg.norm(before[v.path])
            assert norms[0] == pytest.approx(norms[1], rel=1e-5)
            assert (np.sign(after) == np.sign(before[v.path]))[after != 0].all()


@pytest.mark.parametrize(
    ("schedule", "ended"),
    [
        (InverseTimeSchedule(0.5), CosineSchedule(0.5, 0.0, end=40)),
        (CosineSchedule(0.5, 0.1, end=300), CosineSchedule(0.5, 0.1, end=40)),
        (CubicSchedule(0.0, 0.9, end=400, begin=100), CubicSchedule(0.0, 0.9, end=40, begin=10)),
        (CubicSchedule(0.0, 0.9, end=400, begin=399), CubicSchedule(0.0, 0.9, end=40, begin=39)),
    ],
)
def test_a_schedule_ends_at_another_step(schedule, ended):
    assert schedule.ending_at(40) == ended


def test_a_constant_has_no_end():
    with pytest.raises(ValueError, match="A constant value has no end"):
        ConstantSchedule(0.5).ending_at(40)
    with pytest.raises(ValueError, match="A constant value has no end"):
        MagnitudePruning(sparsity=0.9).end_schedule(40)


def test_a_ramp_is_made_to_fit_the_training():
    optimizer = MagnitudePruning(0.05, CubicSchedule(0.0, 0.8, end=1000), update_every=2)
    callback = ScheduleOverTraining()
    callback.set_model(compile_model(make_model(), optimizer))
    callback.set_params({"epochs": 4, "steps": STEPS_PER_EPOCH})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    assert optimizer.sparsity == CubicSchedule(0.0, 0.8, end=2 * STEPS_PER_EPOCH)
    assert optimizer._amounts_by_update[STEPS_PER_EPOCH].sum() == round(0.2 * 1516)


@pytest.mark.parametrize(
    ("end", "update_every", "why"),
    [
        (1000, 2, "rises until step 1000, and training had 88 steps"),
        (4, 100, "change every 100 steps"),
        (4, None, "by `update_masks"),
    ],
)
def test_a_target_that_is_not_met_says_so(end, update_every, why):
    optimizer = MagnitudePruning(0.1, CubicSchedule(0.0, 0.5, end=end), update_every=update_every)
    optimizer.build([keras.Variable(np.ones((4, 5)), name="kernel")])
    optimizer.iterations.assign(88)
    with pytest.warns(UserWarning, match=f"0.5 was requested, and training ended with 0.*{why}"):
        optimizer.finalize_variable_values([])


def test_the_end_of_a_schedule_is_part_of_the_state():
    whole, begun, resumed = (SET(update_every=2, seed=0) for _ in range(3))
    for optimizer in (begun, resumed):
        optimizer.build(make_model().trainable_variables)
    begun.end_schedule(12)
    for variable, value in zip(resumed.variables, begun.variables, strict=True):
        variable.assign(value)
    resumed.iterations.assign(9)
    resumed.end_schedule(30)
    assert resumed.prune_rate == begun.prune_rate == CosineSchedule(0.3, 0.0, end=12)
    # Before it is built as well.
    whole.end_schedule(12)
    whole.build(make_model().trainable_variables)
    assert int(whole._schedule_end) == 12


def test_a_schedule_that_was_trained_with_is_not_changed():
    optimizer = MASKED["SET"](prune_rate=InverseTimeSchedule(0.3))
    variables = [keras.Variable(np.ones((6, 5), "float32"), name="kernel")]
    optimizer.apply([ops.ones((6, 5))], variables)
    with pytest.raises(ValueError, match="compile the model with a new SET"):
        optimizer.end_schedule(30)


NUMBERS = {
    "learning_rate": [*INNER, DeepR],
    "density": [StaticSparse, SparseMomentum, SNIP],
    "momentum": [StaticSparse, MagnitudePruning],
    "weight_decay": [StaticSparse],
    "clipnorm": [SET],
    "ema_momentum": [SET],
    "gradient_accumulation_steps": [SET],
    "seed": [StaticSparse, DeepR],
    "prune_rate": [SET, DSR],
    "update_every": [SET, MagnitudePruning],
    "threshold": [DSR],
    "tolerance": [DSR],
    "l1": [DeepR],
    "temperature": [DeepR],
    "sparsity": [MagnitudePruning],
}


@pytest.mark.parametrize("value", ["s", True, float("nan"), float("inf"), -0.5, [1.0]], ids=str)
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_checked_and_named(name, value):
    for method in NUMBERS[name]:
        with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}="):
            method(**{name: value})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda bad: StaticSparse(distribution={"conv": bad}), r"distribution\['conv'\]"),
        (lambda bad: SET(update_every="epoch", steps_per_epoch=bad), "steps_per_epoch"),
        (ConstantSchedule, "value"),
        (lambda bad: CosineSchedule(0.5, bad, end=9), "final"),
        (lambda bad: CosineSchedule(0.5, 0.0, end=bad), "end"),
        (lambda bad: InverseTimeSchedule(0.5, halved_at=bad), "halved_at"),
    ],
)
@pytest.mark.parametrize("bad", ["s", True, float("nan"), -1], ids=str)
def test_numbers_inside_other_arguments_are_checked(make, name, bad):
    with pytest.raises(ValueError, match=f"`{name}`"):
        make(bad)


@pytest.mark.parametrize("distribution", ["ERK", 0.5, None, {"(": 0.5}, {1: 0.5}], ids=str)
def test_distributions_are_checked_at_once(distribution):
    with pytest.raises(ValueError, match="`distribution`"):
        StaticSparse(distribution=distribution)


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_every_seed_of_32_bits_is_taken(seed):
    optimizer = StaticSparse(seed=seed)
    optimizer.build([keras.Variable(np.ones((6, 5)), name="kernel")])
    assert int(masks_of(optimizer).popitem()[1].sum()) == 3


@pytest.fixture
def floatx(request):
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


@pytest.mark.parametrize(
    ("floatx", "make"),
    [
        ("float64", MASKED["SparseMomentum"]),
        ("float64", lambda **k: MASKED["DSR"](threshold=0.5, **k)),
        ("float16", lambda **k: MASKED["DSR"](threshold=0.5, **k)),
    ],
    indirect=["floatx"],
)
def test_masks_move_in_every_precision(floatx, make):
    optimizer = make(update_every=1, prune_rate=0.5)
    rng = np.random.default_rng(0)
    variables = [keras.Variable(rng.standard_normal((6, 5)), dtype=floatx, name="kernel")]
    optimizer.build(variables)
    (before,) = masks_of(optimizer).values()
    for _ in range(3):
        optimizer.apply([ops.convert_to_tensor(rng.standard_normal((6, 5)), floatx)])
    (after,) = masks_of(optimizer).values()
    assert (before != after).any()
    assert after.sum() == before.sum() == 6
