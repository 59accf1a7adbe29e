import numpy as np
from keras import ops

from keras_sparse.masks.schedules import CosineSchedule
from keras_sparse.optimizers.rigl import RigL

from .reference import first, network, prune_count, state

SHAPES = [(10, 12), (12, 4)]


def test_the_step_that_rewires_trains_nothing_and_new_weights_start_afresh():
    optimizer = RigL(0.1, density=0.3, prune_rate=0.4, update_every=2, seed=0)
    variables = network(optimizer, SHAPES)
    rng = np.random.default_rng(0)
    for step in range(6):
        gradients = [rng.standard_normal(s).astype("float32") for s in SHAPES]
        masks, weights, momenta = state(optimizer, variables)
        optimizer.apply([ops.convert_to_tensor(g) for g in gradients])
        new_masks, new_weights, new_momenta = state(optimizer, variables)
        for k, gradient in enumerate(gradients):
            mask, weight, momentum = masks[k], weights[k], momenta[k]
            if step > 0 and step % 2 == 0:
                dropped = prune_count(0.4, mask.sum())
                keep = first(np.abs(weight), mask.sum() - dropped, mask)
                expected = keep | first(np.abs(gradient), dropped, ~keep)
                np.testing.assert_array_equal(new_masks[k], expected)
                np.testing.assert_array_equal(new_weights[k], np.where(expected, weight, 0))
                if step > 2:
                    np.testing.assert_array_equal(new_momenta[k], np.where(expected, momentum, 0))
            else:
                np.testing.assert_array_equal(new_masks[k], mask)
                assert (new_weights[k] != weight)[mask].all()
            assert not new_weights[k][~new_masks[k]].any()
            assert not new_momenta[k][~new_masks[k]].any()


def test_when_the_schedule_has_ended_every_step_trains():
    schedule = CosineSchedule(0.3, 0.0, end=4)
    optimizer = RigL(0.1, density=0.3, prune_rate=schedule, update_every=2, seed=0)
    variables = network(optimizer, SHAPES)
    still = []
    for _ in range(8):
        before = variables[0].numpy().copy()
        optimizer.apply([ops.ones(s) for s in SHAPES])
        mask = state(optimizer, variables)[0][0]
        still.append(bool((variables[0].numpy() == before)[mask].all()))
    assert still == [False, False, True, False, False, False, False, False]
