"""Deep R: rewiring by a random walk with fixed signs."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_sparse import _keras
from keras_sparse._types import LearningRate, UpdateEvery
from keras_sparse.masks.backend import value_outside_trace
from keras_sparse.masks.schedules import ConstantSchedule
from keras_sparse.masks.scores import random_normal
from keras_sparse.optimizers.prune_and_regrow import MovesWeights
from keras_sparse.validation import check_number


@keras.saving.register_keras_serializable(package="keras_sparse")
class DeepR(MovesWeights):
    """Deep rewiring: a weight that would change its sign is replaced by a random dormant one.

    Each connection has a sign that never changes, drawn with the first weights. A step adds to the
    gradient step an l1 pull `learning_rate * l1` towards 0 and Gaussian noise with variance
    `2 * learning_rate * temperature`. A weight that would cross 0 is set to 0, and becomes dormant
    at the next update. As many random dormant weights of its layer then become active, with the
    value 0.

    The initial weights are scaled so that each layer has the norm that it had without its mask.
    Otherwise SGD would take long to compensate for the missing inputs, nine of ten.

    Args:
        learning_rate: float, schedule or callable. Defaults to 0.3.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        l1: float, not negative. Defaults to 1e-4.
        temperature: float, not negative. Defaults to 1e-10.
        update_every: int, `"epoch"` (with `steps_per_epoch`), or None for `update_masks()` only.
            The paper rewires at every step. Defaults to 1.
        momentum: float in [0, 1), for SGD by name or by default; the paper has none. Defaults to
            None: 0.0.
        steps_per_epoch: int, the number of batches of an epoch.
        **kwargs: the other arguments of `WithDensity`: `distribution`, `nesterov`, `exclude`,
            `seed`, and those of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: `l1` or `temperature` negative; Adam inside, because its steps are not a random
            walk.

    Example:

    >>> model.compile(DeepR(0.05, density=0.05), "sparse_categorical_crossentropy")

    Reference:
        [Bellec et al., 2018](https://arxiv.org/abs/1711.05136), algorithm 1, with the count of
        active connections kept constant in each layer.
    """

    _default_momentum = 0.0

    def __init__(
        self,
        learning_rate: LearningRate = 0.3,
        density: float = 0.1,
        l1: float = 1e-4,
        temperature: float = 1e-10,
        update_every: UpdateEvery = 1,
        momentum: float | None = None,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Every update prunes all weights at zero, so the schedule is constant.
        super().__init__(
            learning_rate,
            ConstantSchedule(1.0),
            update_every,
            steps_per_epoch,
            density=density,
            momentum=momentum,
            **kwargs,
        )
        if not isinstance(self._inner.optimizer, keras.optimizers.SGD):
            raise ValueError(f"DeepR is a random walk on SGD. Received: inner={self.inner!r}")
        self.l1 = check_number("l1", l1, "[0, inf)")
        self.temperature = check_number("temperature", temperature, "[0, inf)")

    def _add_state(self, sparse):
        super()._add_state(sparse)
        self._positive = [None] * len(_keras.variables_of(self))
        for i, variable in zip(self._sparse, sparse, strict=True):
            sign = value_outside_trace(variable) >= 0
            name = f"{variable.path.replace('/', '_')}_positive"
            layout = _keras.layout_of(variable)
            self._positive[i] = self._add_constant(name, sign, layout=layout)

    def _start_from_weights(self):
        for i in self._sparse:
            weight = value_outside_trace(_keras.variables_of(self)[i])
            self._positive[i].assign(weight >= 0)
        super()._start_from_weights()

    def _first_weights(self, weight, mask):
        first = super()._first_weights(weight, mask)
        before, left = (
            np.square(ops.convert_to_numpy(x).astype("float64")).sum() for x in (weight, first)
        )
        return first * math.sqrt(before / left) if left else first

    def _prune_counts(self, snapshot):
        at_zero = ops.logical_and(snapshot.mask, ops.equal(snapshot.weights, 0))
        return snapshot.packing.count(at_zero)

    def _regularize(self, index, value, learning_rate):
        positive = ops.convert_to_tensor(self._positive[index])
        sign = ops.where(positive, ops.ones_like(value), -ops.ones_like(value))
        value = value - learning_rate * self.l1 * sign
        if self.temperature:
            places = ops.arange(math.prod(value.shape), dtype="int32")
            # Each variable has a random stream of its own, different from that of the random
            # choice.
            seed = ops.convert_to_tensor(self._seed) + 2 * index + 2
            noise = random_normal(places, seed, ops.cast(self.iterations, "int32"))
            # In float32, because 1e-10 is zero in half precision.
            size = ops.sqrt(2.0 * ops.cast(learning_rate, "float32") * self.temperature)
            value = value + ops.cast(size * ops.reshape(noise, value.shape), value.dtype)
        # NaN stays NaN, so that the user sees it.
        return ops.where(value * sign <= 0, 0, value)

    def get_config(self):
        return {**super().get_config(), "l1": self.l1, "temperature": self.temperature}
