"""Generalized regularized dual averaging (directional pruning)."""

from typing import Any

import keras
from keras import ops

from keras_sparse._types import Exclude, Groups, LearningRate
from keras_sparse.optimizers.accumulated import GrowingThreshold
from keras_sparse.validation import check_number


@keras.saving.register_keras_serializable(package="keras_sparse")
class GRDA(GrowingThreshold):
    """gRDA: SGD from the initial weights, soft-thresholded by a threshold that grows as t^mu.

        a_0 = w_0,   a_t = a_{t−1} − learning_rate·g_t,
        k_t = k_{t−1} + c·learning_rate^(mu+½)·(t^mu − (t−1)^mu),
        w_t = S(a_t, k_t)

    The threshold never falls, so a lower learning rate does not revive weights. Biases and
    normalisation parameters follow SGD. Memory: one slot per thresholded weight.

    Args:
        learning_rate: float, schedule or None. Defaults to None: 0.2 / (1 + t/300). The threshold
            makes kernels small, and kernels followed by batch normalisation take larger steps as
            they shrink. So a long training at a constant rate becomes unstable.
        c: float, the strength of the threshold. Defaults to 0.04, for some hundred steps or more
            at the default rate. The authors use 5e-4 for VGG-16 and 1e-3 for WRN-28-10 on
            CIFAR-10, in 78,000 steps, at a rate of 0.1.
        mu: float in (½, 1], how fast the threshold grows.
        groups: `"weight"` or `"channel"`; see `AccumulatedRDA`.
        exclude: variables to keep dense besides biases and normalisation; see `AccumulatedRDA`.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`, except `weight_decay` and
            `use_ema`.

    Raises:
        ValueError: an argument out of its range; `weight_decay` or `use_ema`.

    Example:

    >>> model.compile(optimizer=GRDA(0.1, c=5e-3, mu=0.6), loss="mse")

    Reference:
        Chao et al., Directional pruning of deep neural networks, NeurIPS 2020, Algorithm 1.
    """

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        c: float = 0.04,
        mu: float = 0.6,
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> None:
        if learning_rate is None:
            learning_rate = keras.optimizers.schedules.InverseTimeDecay(0.2, 300, 1.0)
        super().__init__(learning_rate, groups=groups, exclude=exclude, **kwargs)
        self.c = check_number("c", c, "[0, inf)")
        self.mu = check_number("mu", mu, "(0.5, 1]")

    def _increment(self, learning_rate):
        t = self._step()
        growth = ops.power(t, self.mu) - ops.power(t - 1.0, self.mu)
        return self.c * ops.power(ops.cast(learning_rate, "float32"), self.mu + 0.5) * growth

    def get_config(self):
        return {**super().get_config(), "c": self.c, "mu": self.mu}
