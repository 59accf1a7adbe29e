"""DSR: dynamic sparse reparameterization."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse._types import LearningRate, Share
from keras_sparse.masks.allocation import proportional, water_fill
from keras_sparse.masks.selection import magnitude_keys
from keras_sparse.optimizers.prune_and_regrow import PruneAndRegrow, share_of
from keras_sparse.validation import check_number


@keras.saving.register_keras_serializable(package="keras_sparse")
class DSR(PruneAndRegrow):
    """Dynamic sparse reparameterization: one adaptive threshold for all layers.

    Each update prunes the weights below the threshold, in all layers, and grows as many at random,
    shared among the layers in proportion to the weights that survived. With `N` the number that
    `prune_rate` gives, the threshold doubles when fewer than `(1 - tolerance) * N` were pruned,
    and halves when more than `(1 + tolerance) * N` were.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        prune_rate: float in [0, 1], a schedule over the steps, or None: the share of all weights to
            prune, to which the threshold adapts. Defaults to None, `InverseTimeSchedule(0.1)`.
        threshold: float above 0, the first threshold. Defaults to 1e-3.
        tolerance: float in [0, 1). Defaults to 0.1.
        update_every: int, `"epoch"` (with `steps_per_epoch`), or None for `update_masks()` only.
            Defaults to 100.
        **kwargs: the other arguments of `PruneAndRegrow` and `WithDensity`.

    Example:

    >>> model.compile(DSR(0.1, density=0.1), "sparse_categorical_crossentropy")

    Reference:
        [Mostafa and Wang, 2019](https://arxiv.org/abs/1902.05967), algorithm 1.
    """

    _first_rate = 0.1

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        density: float = 0.1,
        prune_rate: Share | None = None,
        threshold: float = 1e-3,
        tolerance: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, density, prune_rate, **kwargs)
        self.threshold = check_number("threshold", threshold, "(0, inf)")
        self.tolerance = check_number("tolerance", tolerance, "[0, 1)")

    def _add_extras(self, sparse):
        return [self._add_constant("threshold", np.float32(self.threshold))]

    def _prune_counts(self, snapshot):
        (threshold,) = snapshot.extras
        small = ops.logical_and(snapshot.mask, snapshot.weight_keys < magnitude_keys(threshold))
        return ops.minimum(snapshot.packing.count(small), snapshot.nonzeros - 1)

    def _regrow_counts(self, snapshot, pruned, free):
        survivors = ops.cast(snapshot.nonzeros - pruned, "float32")
        return water_fill(proportional(ops.sum(pruned), survivors), free)

    def _new_extras(self, snapshot, pruned):
        (threshold,) = snapshot.extras
        wanted = ops.cast(share_of(snapshot.amount, ops.sum(snapshot.nonzeros)), "float32")
        pruned = ops.cast(ops.sum(pruned), "float32")
        too_few = pruned < (1 - self.tolerance) * wanted
        too_many = pruned > (1 + self.tolerance) * wanted
        factor = ops.where(too_few, 2.0, ops.where(too_many, 0.5, 1.0))
        return [threshold * ops.cast(factor, "float32")]

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "tolerance": self.tolerance,
        }
