"""Weights that somebody sets after the first step are what training continues from."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_sparse import GRDA, RDA
from tests.optimizers.matrix import MASKED, OPTIMIZERS, thorough

FORMS = {
    "target": lambda: RDA(0.1, target_sparsity=0.5, ramp_steps=1),
    "target by channel": lambda: RDA(0.1, target_sparsity=0.5, ramp_steps=1, groups="channel"),
    "l1": lambda: RDA(0.1, l1=0.5, rho=0.01),
    "l1 by channel": lambda: RDA(0.1, l1=0.5, groups="channel"),
    "published": lambda: RDA(0.1, l1=0.1, variant="published"),
    "published target": lambda: RDA(0.1, target_sparsity=0.5, variant="published"),
    "published by channel": lambda: RDA(0.1, l1=0.1, variant="published", groups="channel"),
    "GRDA": lambda: GRDA(0.1, c=0.5),
    "GRDA by channel": lambda: GRDA(0.1, c=0.5, groups="channel"),
}
SHAPES = {"kernel": (6, 8), "bias": (8,), "last_kernel": (8, 3)}


def arrays(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return [scale * rng.normal(0, 1, shape).astype("float32") for shape in SHAPES.values()]


def made(name, steps=23, dtype="float32"):
    variables = [
        keras.Variable(x, name=n, dtype=dtype) for n, x in zip(SHAPES, arrays(0), strict=True)
    ]
    optimizer = FORMS[name]()
    optimizer.build(variables)
    for step in range(steps):
        apply(optimizer, arrays(step + 1))
    return optimizer, variables


def apply(optimizer, gradients):
    optimizer.apply([ops.convert_to_tensor(g) for g in gradients])


def values(variables):
    return [np.array(ops.convert_to_numpy(v)) for v in variables]


def zeros():
    return [np.zeros(shape, "float32") for shape in SHAPES.values()]


@pytest.mark.parametrize("name", FORMS)
def test_the_next_step_starts_from_them(name):
    optimizer, variables = made(name)
    wanted = arrays(99, scale=3.0)
    wanted[0][:, :3] = 0.0
    for variable, value in zip(variables, wanted, strict=True):
        variable.assign(value)
    apply(optimizer, zeros())
    after = values(variables)
    # A step shrinks by its own threshold; and the published variant, whose rate falls, by a share.
    for value, new in zip(wanted, after, strict=True):
        np.testing.assert_allclose(new, value, rtol=0.06, atol=0.15)
    np.testing.assert_array_equal(after[0][:, :3], 0.0)


@pytest.mark.parametrize("name", FORMS)
def test_what_nobody_set_goes_on(name):
    """The sums stay the sums: none is taken for a weight that was set."""
    optimizer, variables = made(name)
    slots = [record.slot for record in optimizer._records]
    steps, scale = 23, {"published": 1 / 23}.get(name.split()[0], -0.1)
    start = [np.zeros_like(x) for x in arrays(0)] if "published" in name else arrays(0)
    gradients = [sum(g) for g in zip(*(arrays(i + 1) for i in range(steps)), strict=True)]
    for slot, w, g in zip(slots, start, gradients, strict=True):
        if slot is not None and name != "target by channel":
            np.testing.assert_allclose(ops.convert_to_numpy(slot), w + scale * g, atol=1e-4)
    assert any((v == 0).any() for v in values(variables)) or name == "GRDA by channel"


@pytest.mark.parametrize("name", FORMS)
def test_a_nan_is_kept_for_the_user_to_see_and_gone_when_it_is_mended(name):
    optimizer, variables = made(name, steps=2)
    good = values(variables)
    for variable, value in zip(variables, good, strict=True):
        bad = value.copy()
        bad.flat[np.abs(value).argmax()] = np.nan
        variable.assign(bad)
    apply(optimizer, zeros())
    assert all(np.isnan(value).any() for value in values(variables))
    for variable, value in zip(variables, good, strict=True):
        variable.assign(value)
    for _ in range(21):  # a search falls into these
        apply(optimizer, zeros())
    assert all(np.isfinite(value).all() for value in values(variables))


@pytest.mark.parametrize(
    "name",
    thorough([*MASKED, "ProxSGD", "ProxSGD by channel"], "DSR", "MagnitudePruning", "ProxSGD"),
)
def test_masks_do_not_take_a_nan_for_a_small_weight(name):
    _, variables = made("GRDA", steps=0)
    kind, *by_channel = name.split(" by ")
    optimizer = OPTIMIZERS[kind](**({"groups": "channel"} if by_channel else {}))
    optimizer.build(variables)
    for step in range(3):
        apply(optimizer, arrays(step + 1, scale=0.1))
    for variable in variables:
        bad = values([variable])[0]
        bad.flat[np.abs(bad).argmax()] = np.nan
        variable.assign(bad)
    for _ in range(4):  # masks change in two of them
        apply(optimizer, zeros())
    assert all(np.isnan(value).any() for value in values(variables))


@pytest.mark.parametrize("name", ["target", "l1", "GRDA"])
def test_a_few_weights_that_were_set_are_kept_and_the_others_go_on(name):
    optimizer, variables = made(name)
    value = values(variables)[0]
    dead = value == 0
    value[0, 0] = 7.0
    dead[0, 0] = False
    variables[0].assign(value)
    apply(optimizer, zeros())
    after = values(variables)[0]
    assert after[0, 0] == pytest.approx(7.0, abs=0.15)
    slot = ops.convert_to_numpy(optimizer._records[0].slot)
    assert np.abs(slot[dead]).min() > 0


def test_a_variable_whose_first_gradient_comes_late_starts_from_its_value():
    optimizer, variables = made("l1", steps=0)
    for step in range(3):
        apply_to = [variables[0]] if step < 2 else variables
        gradients = [ops.zeros(v.shape) for v in apply_to]
        optimizer.apply(gradients, apply_to)
    assert np.abs(values(variables)[2] - arrays(0)[2]).max() < 0.2


def test_a_constraint_is_nobody_from_outside():
    """What it clips continues as a sum, and may come back."""
    variable = keras.Variable([[1.0, 1.0]], name="kernel")
    variable.constraint = keras.constraints.MaxNorm(0.5, axis=0)
    optimizer = RDA(0.1, l1=0.0)
    optimizer.build([variable])
    for _ in range(3):
        optimizer.apply([ops.convert_to_tensor([[-1.0, 0.0]])])
    np.testing.assert_allclose(ops.convert_to_numpy(optimizer._records[0].slot), [[1.3, 1.0]])
