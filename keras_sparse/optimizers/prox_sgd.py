"""Proximal stochastic gradient descent."""

from typing import Any

import keras
from keras import ops

from keras_sparse._types import Exclude, Groups, LearningRate
from keras_sparse.optimizers.proximal_optimizer import ProximalOptimizer
from keras_sparse.validation import check_number


@keras.saving.register_keras_serializable(package="keras_sparse")
class InverseSqrtDecay(keras.optimizers.schedules.LearningRateSchedule):
    """The rate `initial_learning_rate`/√t at step t = 1, 2, ….

    Args:
        initial_learning_rate: float, above 0; 1/γ in the paper of RDA.

    Raises:
        ValueError: a rate that is not positive.

    Example:

    >>> float(InverseSqrtDecay(1.0)(3))  # the fourth step
    0.5
    """

    def __init__(self, initial_learning_rate: float) -> None:
        self.initial_learning_rate = check_number(
            "initial_learning_rate", initial_learning_rate, "(0, inf)"
        )

    def __call__(self, step):
        """The rate after `step` steps."""
        return self.initial_learning_rate / ops.sqrt(ops.cast(step, "float32") + 1.0)

    def get_config(self):
        return {"initial_learning_rate": self.initial_learning_rate}


@keras.saving.register_keras_serializable(package="keras_sparse")
class ProxSGD(ProximalOptimizer):
    """Proximal SGD: w ← S(w − α_t·g, α_t·l1), the baseline of the RDA paper.

    The threshold falls with α_t, unlike the threshold of RDA. Biases and normalisation parameters
    follow SGD. It has no slots.

    Args:
        learning_rate: float, schedule or None, α_t. None is the paper's α_t = 1/√t:
            `InverseSqrtDecay(1.0)`. Defaults to 0.3, which makes more zeros in fewer steps.
        l1: float, λ in units of the loss per weight. Defaults to 3e-3.
        groups: `"weight"` or `"channel"`; see `AccumulatedRDA`.
        exclude: variables to keep dense besides biases and normalisation; see `AccumulatedRDA`.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`, except `weight_decay` and
            `use_ema`.

    Raises:
        ValueError: an argument out of its range; `weight_decay` or `use_ema`.

    Example:

    >>> model.compile(optimizer=ProxSGD(InverseSqrtDecay(0.3), l1=1e-4), loss="mse")

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, section 2.
    """

    def __init__(
        self,
        learning_rate: LearningRate | None = 0.3,
        l1: LearningRate = 3e-3,
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> None:
        if learning_rate is None:
            learning_rate = InverseSqrtDecay(1.0)
        super().__init__(learning_rate, groups=groups, exclude=exclude, **kwargs)
        self.l1 = check_number("l1", l1, "[0, inf)")

    def update_step(self, gradient, variable, learning_rate):
        record = self._record(variable)
        step = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        value = ops.convert_to_tensor(variable) - step * gradient
        if record.is_thresholded:
            self._assign_thresholded(record, variable, value, step * self.l1)
        else:
            self.assign(variable, value)

    def get_config(self):
        return {**super().get_config(), "l1": self.l1}
