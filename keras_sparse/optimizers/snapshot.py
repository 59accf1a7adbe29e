"""The values from which a method chooses new masks."""

import functools

from keras import ops

from keras_sparse.masks.scores import random_keys
from keras_sparse.masks.selection import magnitude_keys, mean_magnitude


class Snapshot:
    """The state of the network before a step, with all layers in one array.

    Args:
        packing: the `Packing` of the sparse weights.
        tensors: dict of tensors: `weights`, `masks`, `slots` (the momentum, and for Adam the
            second moment), `gradients`, each with one tensor per layer or empty; `extras`,
            `amount`, `seed`, `step`.
    """

    def __init__(self, packing, tensors):
        self.packing = packing
        self.extras = tensors["extras"]
        self.amount = tensors["amount"]
        self.seed = tensors["seed"]
        self.step = tensors["step"]
        self._tensors = tensors

    def _pack(self, arrays):
        return self.packing.pack([ops.cast(array, "float32") for array in arrays])

    @functools.cached_property
    def mask(self):
        """Packed bool; padding is False."""
        return self.packing.pack(self._tensors["masks"], False)

    @functools.cached_property
    def nonzeros(self):
        """Number of weights inside the mask, by layer, int32."""
        return self.packing.count(self.mask)

    @functools.cached_property
    def sizes(self):
        """Number of weights, by layer, int32."""
        return ops.convert_to_tensor(self.packing.sizes)

    @functools.cached_property
    def weights(self):
        """Packed float32."""
        return self._pack(self._tensors["weights"])

    @functools.cached_property
    def weight_keys(self):
        """Packed integers that order like |weight|."""
        return magnitude_keys(self.weights)

    @functools.cached_property
    def gradients(self):
        """Packed float32."""
        return self._pack(self._tensors["gradients"])

    @functools.cached_property
    def momentum_by_layer(self):
        """The momentum by which weights are scored, a list of float32 tensors."""
        momentum, *second = (
            [ops.cast(array, "float32") for array in slot] for slot in self._tensors["slots"]
        )
        if not second:
            return momentum
        return [m / (ops.sqrt(v) + 1e-8) for m, v in zip(momentum, second[0], strict=True)]

    @functools.cached_property
    def momentum(self):
        """`momentum_by_layer`, packed."""
        return self._pack(self.momentum_by_layer)

    @functools.cached_property
    def mean_weights(self):
        """Mean |weight| inside the mask by layer, float32."""
        return mean_magnitude(self.weights, self.mask, self.packing)

    @functools.cached_property
    def mean_momentum(self):
        """Mean |momentum| inside the mask by layer, float32."""
        return mean_magnitude(self.momentum, self.mask, self.packing)

    @functools.cached_property
    def random_keys(self):
        """Packed random integers, new ones at each step."""
        return random_keys(self.packing.merged().index(), self.seed, self.step)

    def missing(self, keep):
        """Packed bool: the places outside `keep` in which a weight can grow."""
        return ops.logical_and(self.packing.valid(), ops.logical_not(keep))
