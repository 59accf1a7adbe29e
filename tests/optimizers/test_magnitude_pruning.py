import numpy as np
import pytest

from keras_sparse.masks.schedules import CosineSchedule, CubicSchedule, OneShotSchedule
from keras_sparse.optimizers.magnitude_pruning import MagnitudePruning

from .matrix import check_masks, compile_model, fit, make_model, masks_of
from .reference import first, network, state

SHAPES = [(20, 10), (10, 5)]


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_number_prunes_at_once_and_the_masks_stay(scope):
    model = compile_model(make_model(), "adam")
    fit(model)
    trained = {v.path: v.numpy().copy() for v in model.trainable_variables}
    compile_model(model, MagnitudePruning(0.01, sparsity=0.8, scope=scope))
    fit(model, epochs=1)
    masks = masks_of(model.optimizer)
    if scope == "layer":
        check_masks(model, sum(round(0.2 * m.size) for m in masks.values()))
        for path, mask in masks.items():
            expected = first(np.abs(trained[path]), mask.sum(), np.ones(mask.shape, bool))
            np.testing.assert_array_equal(mask, expected)
    else:
        check_masks(model)
        sizes = np.concatenate([np.abs(trained[path]).ravel() for path in masks])
        flat = np.concatenate([mask.ravel() for mask in masks.values()])
        np.testing.assert_array_equal(flat, first(sizes, round(0.2 * flat.size), flat | True))
    fit(model)
    for path, mask in masks_of(model.optimizer).items():
        np.testing.assert_array_equal(mask, masks[path])


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_a_schedule_is_followed_to_the_weight_and_nothing_comes_back(scope):
    schedule = CubicSchedule(0.0, 0.75, end=9, begin=2)
    optimizer = MagnitudePruning(0.1, schedule, scope, update_every=2)
    variables = network(optimizer, SHAPES)
    rng = np.random.default_rng(0)
    old = [np.ones(s, bool) for s in SHAPES]
    for step in range(14):
        weights = [v.numpy().copy() for v in variables]
        optimizer.apply([rng.standard_normal(s).astype("float32") for s in SHAPES], variables)
        masks = state(optimizer, variables)[0]
        density = 1 - schedule(step - step % 2)
        assert sum(m.sum() for m in masks) == round(density * 250)
        for mask, before, weight in zip(masks, old, weights, strict=True):
            assert not (mask & ~before).any()
            if scope == "layer":
                np.testing.assert_array_equal(mask, first(np.abs(weight), mask.sum(), before))
        old = masks
    assert sum(m.sum() for m in old) == round(0.25 * 250)


@pytest.mark.parametrize("sparsity", [1.0, OneShotSchedule(1.0, end=5)])
def test_a_sparsity_of_everything_is_refused(sparsity):
    with pytest.raises(ValueError, match="`sparsity` must be below 1"):
        MagnitudePruning(sparsity=sparsity)


def test_a_sparsity_that_falls_is_refused():
    with pytest.raises(ValueError, match="must not fall over time"):
        MagnitudePruning(sparsity=CosineSchedule(0.9, 0.1, end=10))
