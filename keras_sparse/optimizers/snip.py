"""SNIP: one batch decides which weights are trained."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse._types import LearningRate
from keras_sparse.masks.distributions import global_budget
from keras_sparse.masks.schedules import ConstantSchedule
from keras_sparse.masks.selection import magnitude_keys, select_globally
from keras_sparse.optimizers.dynamic_mask import DynamicMaskOptimizer
from keras_sparse.validation import check_number


@keras.saving.register_keras_serializable(package="keras_sparse")
class SNIP(DynamicMaskOptimizer):
    """Single-shot pruning: the first batch decides which weights are kept.

    The first step trains nothing. It scores every weight by |gradient * weight|. Of the `N` weights
    of the whole network it keeps the `round(density * N)` with the largest scores, at least one in
    each layer. The masks then stay. With `gradient_accumulation_steps` the first step has that many
    batches.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        **kwargs: the other arguments of `MaskedOptimizer`: `momentum`,
            `nesterov`, `inner`, `exclude`, and those of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: on `build`, fewer weights to keep than layers.

    Example:

    >>> model.compile(SNIP(0.1, density=0.05), "sparse_categorical_crossentropy")

    Reference:
        [Lee et al., 2019](https://arxiv.org/abs/1810.02340), algorithm 1.
    """

    needs_gradients = True
    pauses = True

    def __init__(
        self, learning_rate: LearningRate | None = None, density: float = 0.1, **kwargs: Any
    ) -> None:
        density = check_number("density", density, "(0, 1]")
        super().__init__(learning_rate, ConstantSchedule(density), 1, **kwargs)
        self.density = density

    def _initial_masks(self, sparse, rng):
        self._budget = global_budget([math.prod(v.shape) for v in sparse], self.density)
        return [np.ones(v.shape, bool) for v in sparse]

    def _due(self):
        return ops.logical_and(ops.equal(self.iterations, 0), self._is_last_micro_step())

    def _updating_steps(self):
        return 0, math.inf

    def _amounts(self, steps):
        return np.full(len(steps), self._budget, "int32")

    def _rewire(self, snapshot):
        keys = magnitude_keys(snapshot.gradients * snapshot.weights)
        mask = select_globally(keys, snapshot.amount, snapshot.packing, snapshot.mask)
        pruned = snapshot.nonzeros - snapshot.packing.count(mask)
        return mask, pruned, ops.zeros_like(pruned), []

    def get_config(self):
        return {**super().get_config(), "density": self.density}
