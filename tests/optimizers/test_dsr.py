import numpy as np
import pytest

from keras_sparse.optimizers.dsr import DSR

from .reference import fill, network, split, state

SHAPES = [(20, 10), (10, 5)]


def test_a_threshold_prunes_and_survivors_share_the_rest():
    optimizer = DSR(density=0.4, threshold=0.5, update_every=None, seed=0)
    variables = network(optimizer, SHAPES)
    masks, weights, _ = state(optimizer, variables)
    optimizer.update_masks()
    pruned = [int((np.abs(w[m]) < 0.5).sum()) for w, m in zip(weights, masks, strict=True)]
    survivors = np.array([m.sum() for m in masks]) - pruned
    grown = fill(split(sum(pruned), survivors), np.array([m.size for m in masks]) - survivors)
    changes = list(optimizer.mask_changes.values())
    assert [c["pruned"] for c in changes] == pruned
    assert [c["grown"] for c in changes] == list(grown)
    new = state(optimizer, variables)[0]
    for mask, old, weight in zip(new, masks, weights, strict=True):
        assert mask[old & (np.abs(weight) >= 0.5)].all()


@pytest.mark.parametrize(("rate", "factor"), [(1.0, 2.0), (0.01, 0.5)])
def test_the_threshold_moves_towards_the_rate(rate, factor):
    optimizer = DSR(density=0.4, threshold=0.5, prune_rate=rate, update_every=None, seed=0)
    network(optimizer, SHAPES)
    optimizer.update_masks()
    assert float(optimizer._extras[0]) == 0.5 * factor


def test_the_threshold_stays_within_the_tolerance():
    optimizer = DSR(density=0.4, threshold=0.5, tolerance=0.9, prune_rate=0.4, update_every=None)
    network(optimizer, SHAPES)
    optimizer.update_masks()
    assert float(optimizer._extras[0]) == 0.5


@pytest.mark.parametrize("argument", [{"threshold": 0.0}, {"tolerance": 1.0}])
def test_bad_arguments_are_refused(argument):
    with pytest.raises(ValueError, match="Received"):
        DSR(**argument)


def test_a_threshold_above_all_weights_leaves_one_in_each_layer():
    optimizer = DSR(density=0.4, threshold=1e9, update_every=None, seed=0)
    variables = network(optimizer, SHAPES)
    counts = [m.sum() for m in state(optimizer, variables)[0]]
    optimizer.update_masks()
    assert [c["pruned"] for c in optimizer.mask_changes.values()] == [n - 1 for n in counts]
    assert sum(m.sum() for m in state(optimizer, variables)[0]) == sum(counts)
