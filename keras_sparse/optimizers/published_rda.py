"""Regularized dual averaging as it was published for convolutional networks."""

from typing import Any, Literal

import keras
from keras import ops

from keras_sparse._types import Exclude, Groups, LearningRate
from keras_sparse.masks.backend import dense
from keras_sparse.optimizers.proximal_optimizer import ProximalOptimizer, differs, tolerance
from keras_sparse.optimizers.sparsity_target import FindsThresholds
from keras_sparse.optimizers.strength import HasStrength


class _DualAveraging(ProximalOptimizer):
    """Algorithm 1 of the paper; a subclass defines λ_t."""

    # A constant that surgery folds into a bias is added to its centre too.
    weight_slots = ("center",)

    def __init__(self, learning_rate, center, groups, exclude, **kwargs):
        if center not in ("initial", "zero"):
            raise ValueError(f"`center` must be 'initial' or 'zero'. Received: center={center!r}")
        super().__init__(learning_rate, groups=groups, exclude=exclude, **kwargs)
        self.center = center

    @property
    def _includes_biases(self):
        return self.center == "zero"

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        averages = self.add_optimizer_variables(variables, "gradient_average")
        # The factor and the threshold of the previous step.
        self._last_rate = self._add_scalar("last_rate")
        pairs = self._variables_and_records()
        for (variable, record), average in zip(pairs, averages, strict=True):
            record.slot = average
            if record.is_thresholded:
                record.last_threshold = self._add_scalar_of(variable, "last_threshold")
        for variable, record in pairs:
            if not record.is_thresholded:
                record.center = self.add_variable_from_reference(variable, name="center")
        self._add_removed()

    def update_step(self, gradient, variable, learning_rate):
        record, t = self._record(variable), self._step()
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        before = self._average_before(record, variable)
        # ḡ_t = ((t − 1)·ḡ_{t−1} + g_t)/t
        average = before + (gradient - before) / ops.cast(t, variable.dtype)
        self.assign(record.slot, average)
        # w_{t+1} = S(−√t/γ·ḡ_t, √t/γ·λ_t)
        step = self._rate(learning_rate)
        moved = ops.cast(step, variable.dtype) * average
        if record.is_thresholded:
            threshold = step * self._strength(record) + self._extra_threshold()
            self.assign(record.last_threshold, threshold)
            # 0 − x, because −x is −0.0 where x is zero. The removed values are sums of gradients.
            self._assign_thresholded(record, variable, 0.0 - moved, threshold, step / t)
        else:
            center = self._center(record, variable, before)
            self.assign(record.center, center)
            self.assign(variable, center - moved)

    def _rate(self, learning_rate):
        """√t/γ, where the learning rate is 1/γ."""
        return ops.sqrt(self._step()) * ops.cast(learning_rate, "float32")

    def _strength(self, record):
        """λ of a variable in this step, a float32 tensor."""
        raise NotImplementedError

    def _extra_threshold(self):
        return 0.0

    def _average_before(self, record, variable):
        """The mean gradient so far, or a matching one if the weights were set from outside."""
        average = dense(record.slot)  # a copy, because the slot changes
        if not (record.is_thresholded and record.is_watched):
            return average
        last = ops.convert_to_tensor(self._last_rate)
        rate = ops.cast(last, average.dtype)
        found, moved = self._before_threshold(
            record,
            ops.convert_to_tensor(variable),
            0.0 - rate * average,
            ops.convert_to_tensor(record.last_threshold),
            last / ops.maximum(self._step() - 1.0, 1.0),
        )
        # The first step does not depend on the initial weights.
        is_set = ops.logical_and(moved, rate > 0.0)
        return ops.where(is_set, 0.0 - found / ops.where(rate > 0.0, rate, 1.0), average)

    def _center(self, record, variable, average):
        """The initial value of a bias, or a matching one if the bias was set from outside."""
        weight, center = map(ops.convert_to_tensor, (variable, record.center))
        first = ops.where(ops.equal(self.iterations, 0), weight, center)
        if not record.is_watched:
            return first
        rate = ops.cast(self._last_rate, weight.dtype)
        moved = rate * average
        reach = tolerance(weight) * (ops.abs(center) + ops.abs(moved))
        is_set = differs(weight, center - moved, reach)
        return ops.where(rate > 0.0, ops.where(is_set, weight + moved, center), first)

    def apply(self, grads, trainable_variables=None):
        """Apply gradients, and store the factor on the mean gradients for the next step."""
        rate = self._rate(self.learning_rate)
        super().apply(grads, trainable_variables)
        self._assign_after_update(self._last_rate, rate)

    def _slot_scale(self):
        steps = max(int(ops.convert_to_numpy(self.iterations)), 1)
        last, rate = (float(ops.convert_to_numpy(x)) for x in (self._last_rate, self.learning_rate))
        # Files of earlier versions have no factor of the last step. At a rate of 0 all weights are
        # zero, whatever the factor.
        return -(last or rate * steps**0.5 or 1.0), steps

    def get_config(self):
        return {**super().get_config(), "center": self.center}


@keras.saving.register_keras_serializable(package="keras_sparse")
class PublishedRDA(HasStrength, _DualAveraging):
    """l1-regularized dual averaging (RDA), Algorithm 1 of the paper.

        ḡ_t = ((t − 1)·ḡ_{t−1} + g_t)/t
        w_{t+1} = S(−(√t/γ)·ḡ_t, (√t/γ)·λ_t),   λ_t = l1 + γ·rho/√t,   γ = 1/learning_rate
        S(x, k) = sign(x)·max(|x| − k, 0)

    Every step starts from zero, moves along the mean of all gradients so far, and soft-thresholds.
    So weights are exactly zero during training. It forgets the initial weights after one step. It
    needs batch normalisation, a wide initialization (`keras_sparse.ScaledUniform`) and an `l1` of
    the right order of magnitude. With `l1=0` it is SGD with a rate of 1/(γ√t) and a decay factor of
    √((t−1)/t), which tends to 1 (Lemma 1). Memory: one slot per weight.

    A NaN gradient makes the weights NaN, as in Keras' optimizers. If weights are set from outside,
    the next step continues from them, unless their layer has a constraint.

    Args:
        learning_rate: float or schedule, 1/γ. Defaults to 1.0, the paper's for CIFAR-10.
        l1: float or schedule, λ in units of the loss per weight. Its scale depends on the network:
            for mean cross-entropy try 1e-4 to 1e-3 on MNIST. Defaults to 1e-4.
        rho: float, the part of λ that falls as 1/√t (the enhanced l1 of Xiao, section 4). Defaults
            to 0.0.
        center: `"initial"` or `"zero"`: the starting point of biases and normalisation parameters.
            With `"initial"` they are not thresholded. With `"zero"` they are treated like all other
            weights, including the threshold, as in the paper's experiments; training may then fail.
        groups: `"weight"` or `"channel"`; see `AccumulatedRDA`.
        exclude: what is kept dense besides biases and normalisation; see `AccumulatedRDA`. What it
            names starts from its initial value, also with `center="zero"`.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`. `weight_decay` and
            `use_ema` are refused. Clipping changes the gradients that `l1` is compared with.

    Raises:
        ValueError: an argument out of its range; `weight_decay` or `use_ema`; on `build`, an
            `exclude` that matches nothing.

    Example:

    >>> model.compile(optimizer=PublishedRDA(1.0, l1=2e-4), loss="mse")

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, Algorithm 1;
        Xiao, Dual averaging methods for regularized stochastic learning and online optimization,
        JMLR 2010.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        l1: LearningRate = 1e-4,
        rho: float = 0.0,
        center: Literal["initial", "zero"] = "initial",
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, center, groups, exclude, **kwargs)
        self._set_strength(l1, rho)

    def _strength(self, record):
        return self._current_l1()

    def _extra_threshold(self):
        return self.rho


@keras.saving.register_keras_serializable(package="keras_sparse")
class PublishedRDAToTarget(FindsThresholds, _DualAveraging):
    """`PublishedRDA` that finds λ while training, so that a share of the weights is zero.

    λ is a quantile of |ḡ_t| over all prunable weights together. It is chosen so that the share
    `target_sparsity` of them is zero; the share rises over `ramp_steps`. `DPF` finds its threshold
    in the same way, but does not shrink the weights.

    Args:
        learning_rate: float or schedule, 1/γ. Defaults to 1.0.
        target_sparsity: float in [0, 1). Defaults to 0.9.
        ramp_steps: int, the steps over which the sparsity rises to its target. Defaults to 1000.
        center: see `PublishedRDA`.
        groups: `"weight"`; a target by channel is for `DPF`.
        exclude: what is kept dense besides biases and normalisation; see `AccumulatedRDA`.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`. `weight_decay` and
            `use_ema` are refused.

    Raises:
        ValueError: an argument out of its range; on `build`, a target for no weight at all.

    Example:

    >>> model.compile(optimizer=PublishedRDAToTarget(1.0, target_sparsity=0.5), loss="mse")

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, Algorithm 1.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 1.0,
        target_sparsity: float = 0.9,
        ramp_steps: int = 1000,
        center: Literal["initial", "zero"] = "initial",
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> None:
        if groups == "channel":
            raise ValueError(
                "`target_sparsity` by channel needs variant='accumulated', in which a channel that "
                "stays is not shrunk: `DPF`. In the published variant give an `l1` (try 1e-3). "
                "Received: groups='channel'"
            )
        super().__init__(learning_rate, center, groups, exclude, **kwargs)
        self._set_target(target_sparsity, ramp_steps)

    def _strength(self, record):
        return ops.convert_to_tensor(record.threshold)

    def _searched(self, record, variable):
        return record.slot
