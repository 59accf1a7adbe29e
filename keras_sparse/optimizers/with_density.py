"""Masks that keep a share of the weights, distributed over layers."""

from collections.abc import Mapping
from typing import Any

from keras_sparse._types import LearningRate
from keras_sparse.masks.distributions import check_distribution, n_of_m
from keras_sparse.masks.first import first_masks
from keras_sparse.optimizers.masked import MaskedOptimizer
from keras_sparse.validation import check_number

# The default; not used if the masks follow from the weights.
_DENSITY = 0.1


class WithDensity(MaskedOptimizer):
    """Base of the optimizers whose first masks have a given density and distribution.

    Args:
        learning_rate: float, schedule, callable or None; see `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        distribution: how the density is distributed over layers: `"erk"`, `"uniform"` or a dict
            from patterns to densities, see `masks.distributions.layer_budgets`; `"zeros"`: all
            weights that are not zero are kept; or `"2:4"`: the two largest of every four inputs of
            an output (or other numbers), only for masks that do not change. Defaults to `"erk"`.
        **kwargs: the other arguments of `MaskedOptimizer`.

    Raises:
        ValueError: an argument out of its range; on `build`, a budget that would leave a layer
            empty.
    """

    # Whether the masks will come from a saved state that is not loaded yet.
    _awaits_state = False

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        density: float = _DENSITY,
        distribution: str | Mapping[str, float] = "erk",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, **kwargs)
        self.density = check_number("density", density, "(0, 1]")
        self.distribution = check_distribution(distribution)
        pattern = n_of_m(self.distribution) is not None
        if self._masks_move and pattern:
            raise ValueError(
                f"{type(self).__name__} moves its masks, and would lose the pattern. Use "
                f"StaticSparse. Received: distribution={self.distribution!r}"
            )
        if (self.distribution == "zeros" or pattern) and self.density != _DENSITY:
            raise ValueError(
                f"distribution={self.distribution!r} decides how many weights are kept; leave "
                f"`density` out. Received: density={self.density}"
            )

    def _initial_masks(self, sparse, rng):
        paths = [self._first_paths[i] for i in self._sparse]
        zeros = self.distribution == "zeros"
        # Keras builds a saved optimizer before it loads the weights.
        required = not (self._was_saved or (zeros and self._was_configured))
        masks = first_masks(sparse, paths, self.density, self.distribution, rng, required)
        self._awaits_state = zeros and not required and all(mask.all() for mask in masks)
        return masks

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self._awaits_state = False

    def _start_from_weights(self):
        self._was_configured = False
        super()._start_from_weights()

    def apply(self, grads, trainable_variables=None):
        if self._awaits_state:
            raise ValueError(
                "distribution='zeros' keeps the zeros of the weights, and none of them was zero "
                "when this optimizer, made from a config, was built. Load its state, or the sparse "
                "weights before it is built."
            )
        super().apply(grads, trainable_variables)

    def get_config(self):
        return {
            **super().get_config(),
            "density": self.density,
            "distribution": self.distribution,
        }
