"""Groups of channels by brute force: what is left of a model without a channel of them."""

import keras
import numpy as np

from keras_sparse import surgery


def randomise(model, rng):
    """Weights of which none is near zero."""
    for weight in model.weights:
        if not keras.backend.is_float_dtype(weight.dtype):
            continue
        low = 0.5 if "variance" in weight.path else 0.2
        sign = 1 if "variance" in weight.path else rng.choice([-1, 1], weight.shape)
        weight.assign(rng.uniform(low, 1, weight.shape) * sign)


def parameters_without(model, masks):
    """Number of parameters once the channels and everything that belongs to them are gone."""
    gone = {}
    for group, mask in masks.items():
        for part in group.slices:
            own = (part.channels >= 0) & mask[part.channels]
            key = part.path, part.axis
            gone[key] = gone.get(key, 0) + own.sum()
    sizes = {
        w.path: [n - gone.get((w.path, axis), 0) for axis, n in enumerate(w.shape)]
        for w in model.weights
    }
    return int(sum(np.prod(size) for size in sizes.values()))


def left_without_each(model, remove):
    """For each free group, what is left without its last channel.

    Args:
        model: its weights are random meanwhile.
        remove: `surgery.remove_dead_channels`.

    Returns:
        `{group name: (parameters expected, parameters left)}`.
    """
    kept, found = model.get_weights(), {}
    try:
        randomise(model, np.random.default_rng(0))
        for group in surgery.channel_groups(model):
            if group.fixed or group.size < 2:
                continue
            masks = {group: np.arange(group.size) == group.size - 1}
            compact, _ = remove(surgery.zero_groups(model, masks))
            found[group.name] = parameters_without(model, masks), compact.count_params()
    finally:
        model.set_weights(kept)
    return found
