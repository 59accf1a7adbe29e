import numpy as np

from keras_sparse.optimizers.set import SET

from .reference import network, state


def test_both_signs_lose_their_smallest_and_as_many_grow_at_random():
    optimizer = SET(density=0.4, prune_rate=0.3, update_every=None, seed=0)
    variables = network(optimizer, [(20, 10), (10, 5)])
    masks, weights, _ = state(optimizer, variables)
    optimizer.update_masks()
    new_masks = state(optimizer, variables)[0]
    for mask, weight, new in zip(masks, weights, new_masks, strict=True):
        assert new.sum() == mask.sum()
        for sign in (1, -1):
            own = mask & (np.sign(weight) == sign)
            lost = own & ~new
            # What is gone was smaller than what was kept, except where chance grew it again.
            assert abs(lost.sum() - 0.3 * own.sum()) <= 0.3 * own.sum() * 0.5 + 1
            smallest = np.sort(np.abs(weight[own]))[: int(np.ceil(0.3 * own.sum())) + 1]
            assert np.abs(weight[lost]).max() <= smallest[-1]
    grown = new_masks[0] & ~masks[0]
    optimizer.iterations.assign(1)
    optimizer.masks["kernel_0"].assign(masks[0])
    optimizer.update_masks()
    assert ((state(optimizer, variables)[0][0] & ~masks[0]) != grown).any()
