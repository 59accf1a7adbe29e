import numpy as np
from keras import ops

from keras_sparse.optimizers.snip import SNIP

from .reference import network, state

SHAPES = [(10, 12), (12, 4)]


def test_the_first_batch_decides_and_trains_nothing():
    optimizer = SNIP(0.1, density=0.2)
    variables = network(optimizer, SHAPES)
    for slot in optimizer._inner.slots[0]:
        slot.assign(np.zeros(slot.shape))
    _, weights, _ = state(optimizer, variables)
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal(s).astype("float32") for s in SHAPES]
    optimizer.apply([ops.convert_to_tensor(g) for g in gradients])
    masks, after, _ = state(optimizer, variables)
    scores = [np.abs(g * w) for g, w in zip(gradients, weights, strict=True)]
    threshold = np.sort(np.concatenate([s.ravel() for s in scores]))[-round(0.2 * 168)]
    for k in range(2):
        np.testing.assert_array_equal(masks[k], scores[k] >= threshold)
        np.testing.assert_array_equal(after[k], np.where(masks[k], weights[k], 0))
    optimizer.apply([ops.convert_to_tensor(g) for g in gradients])
    again, trained, _ = state(optimizer, variables)
    for k in range(2):
        np.testing.assert_array_equal(again[k], masks[k])
        assert (trained[k] != after[k])[masks[k]].all()


def test_no_layer_is_left_empty():
    optimizer = SNIP(0.1, density=0.05)
    variables = network(optimizer, SHAPES)
    optimizer.apply([ops.ones(SHAPES[0]), ops.zeros(SHAPES[1])])
    assert [m.sum() for m in state(optimizer, variables)[0]] == [7, 1]
