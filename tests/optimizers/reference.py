"""Prune and regrow in NumPy, with sorts and float64, to compare the mask optimizers with."""

import keras
import numpy as np
from keras import ops


def network(optimizer, shapes, seed=0, ties=False):
    """Builds the optimizer on variables of these shapes, with trained-looking state."""
    rng = np.random.default_rng(seed)

    def values(shape):
        x = rng.standard_normal(shape)
        return (np.round(2 * x) / 2 if ties else x).astype("float32")

    variables = [keras.Variable(values(s), name=f"kernel_{i}") for i, s in enumerate(shapes)]
    optimizer.build(variables)
    for slot in optimizer._inner.slots:
        for k, v in enumerate(slot):
            v.assign(values(v.shape) * (k + 1))
    return variables


def state(optimizer, variables):
    """NumPy masks, weights and momenta."""
    masks = [ops.convert_to_numpy(m) for m in optimizer.masks.values()]
    weights = [ops.convert_to_numpy(v) for v in variables]
    momenta = [ops.convert_to_numpy(v) for v in optimizer._inner.slots[0]]
    return masks, weights, momenta


def first(scores, count, among):
    """The mask of the `count` largest scores, of equal ones the first by index."""
    flat, places = scores.astype("float64").ravel(), np.flatnonzero(among)
    order = places[np.argsort(-flat[places], kind="stable")][:count]
    mask = np.zeros(scores.shape, bool)
    mask.flat[order] = True
    return mask


def prune_count(rate, count):
    return min(int(np.ceil(np.float32(rate) * np.float32(count))), count - 1)


def split(total, shares):
    """`total` in proportion to shares: the running total is rounded."""
    until = np.round(total * np.cumsum(shares) / np.sum(shares)).astype(int)
    return np.diff(until, prepend=0)


def fill(wanted, free):
    """What does not fit goes one by one to the layers that have been given the least extra."""
    given = np.minimum(wanted, free)
    extra = np.zeros_like(given)
    for _ in range(int(sum(wanted) - given.sum())):
        room = np.flatnonzero(given < free)
        k = room[np.argmin(extra[room])]
        given[k] += 1
        extra[k] += 1
    return given
