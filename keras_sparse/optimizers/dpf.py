"""Dynamic pruning with feedback."""

from typing import Any

import keras
from keras import ops

from keras_sparse._types import Exclude, Groups, LearningRate
from keras_sparse.masks.backend import dense
from keras_sparse.optimizers.accumulated import AccumulatedOptimizer
from keras_sparse.optimizers.proximal import group_size
from keras_sparse.optimizers.proximal_optimizer import differs, tolerance
from keras_sparse.optimizers.sparsity_target import FindsThresholds

# How many weights of a variable are compared to decide whether it was set as a whole.
_SAMPLE = 4096


@keras.saving.register_keras_serializable(package="keras_sparse")
class DPF(FindsThresholds, AccumulatedOptimizer):
    """Dynamic pruning with feedback: gradients of a sparse network train a dense one.

        a_0 = w_0,   a_t = a_{t−1} − learning_rate·g(w_{t−1}),   w_t = m_t·a_t

    The gradient of the sparse network w updates the dense sums a. So a weight that was pruned by
    mistake can come back; this is the feedback. The mask m_t keeps the largest |a|. It is chosen
    again every 20 steps, so that the share `target_sparsity` of the prunable weights is zero. The
    share rises over `ramp_steps` by the cubic schedule of Zhu and Gupta. The kept weights are not
    shrunk. Soft-thresholding with a quantile would make them very small. Kernels followed by batch
    normalisation would then not converge, because their steps grow as their norms fall.

    This is the paper's method with SGD, which equals dual averaging from the initial weights
    without an l1. Unlike in the paper, the threshold is at most 0.9 of the largest value of a
    variable, so that no variable becomes empty. By channel, ‖a‖/√n of a channel, divided by the
    mean of its layer, is compared with the threshold. At least a tenth of a layer's channels stays,
    and channels that are zero are not updated.

    Biases and normalisation parameters follow SGD. Memory: one slot per prunable weight.

    A NaN gradient makes the weights NaN, as in Keras' optimizers. It does not make them zero,
    because zeros would look sparse. `keras.callbacks.TerminateOnNaN` then stops the training. If
    weights are set by `set_weights` or a callback, the next step continues from them, unless their
    layer has a constraint; single weights that are set to zero may come back with the next search.
    A weight that the loss does not depend on has a gradient of zero. Zeros that `surgery` removed
    still count for the target. `fit` ends with a warning if the target was not met.

    Args:
        learning_rate: float or schedule. Defaults to 0.1, which also trains networks without batch
            normalisation. With batch normalisation 1.0 learns faster, because there is no momentum.
        target_sparsity: float in [0, 1), the share of prunable weights to become zero. Defaults
            to 0.9; by channel there is no default. The weights that read a dead channel are not
            among the zeros, but surgery removes them too.
        ramp_steps: int, the steps over which the sparsity rises to its target. Defaults to 1000;
            `callbacks.ScheduleOverTraining` makes it a share of the training.
        groups: `"weight"` or `"channel"`: with `"channel"` all weights into one output channel
            become zero together; see `AccumulatedRDA`.
        exclude: variables to keep dense besides biases and normalisation; see `AccumulatedRDA`.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`. `weight_decay` and
            `use_ema` are refused.

    Raises:
        ValueError: an argument out of its range; no target by channel; `weight_decay` or
            `use_ema`; on `build`, a target for no weight at all, or an `exclude` that matches
            nothing.

    Example:

    >>> model.compile(optimizer=DPF(), loss="sparse_categorical_crossentropy")
    >>> model.compile(optimizer=DPF(target_sparsity=0.5, groups="channel"), loss="mse")

    Reference:
        Lin et al., Dynamic model pruning with feedback, ICLR 2020, arXiv 2006.07253, Algorithm 1;
        Zhu and Gupta, To prune, or not to prune, arXiv 1710.01878, equation 1.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.1,
        target_sparsity: float | None = None,
        ramp_steps: int = 1000,
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> None:
        if target_sparsity is None:
            if groups == "channel":
                raise ValueError(
                    "`groups='channel'` needs an `l1` (try 1e-3) or a `target_sparsity` (try 0.5): "
                    "no share of channels suits all networks. Received: target_sparsity=None"
                )
            target_sparsity = 0.9
        super().__init__(learning_rate, groups=groups, exclude=exclude, **kwargs)
        self._set_target(target_sparsity, ramp_steps)

    def _thresholded_step(self, record, gradient, variable, learning_rate):
        """Choose weights only in a step with a search; so the sparsity stays until the next one."""
        # NaN does not count as dead. TensorFlow turns "not a <= b" into `a > b`, which differs for
        # NaN, so nothing is negated.
        dead = ops.logical_and(ops.convert_to_tensor(variable) == 0.0, self.iterations > 0)
        if record.axes is not None:
            dead = ops.all(dead, axis=record.axes, keepdims=True)
            # Batch normalisation divides the output of a dead channel by √epsilon. So its gradient
            # is some 30 times that of a live one, and would revive it at once.
            gradient = ops.where(dead, 0.0, gradient)
        if not self._leaves_out_update:
            dead = ops.where(self._search_due(), self._below_threshold(record, variable), dead)
        start = self._searched(record, variable)
        value = self._accumulate(record, start, gradient, learning_rate)
        self._assign_or_stay_zero(variable, ops.where(dead, 0.0, value))

    def _below_threshold(self, record, variable):
        value = self._searched(record, variable)
        size = group_size(value, record.axes, record.removed_from(value))
        return size <= ops.cast(ops.convert_to_tensor(record.threshold), size.dtype)

    def _searched(self, record, variable):
        """The sums from which weights are selected, or the weights if they were set from outside.

        A weight that is not zero normally equals its sum. If most weights of a variable differ from
        their sums, the whole variable was set from outside, also its zeros. Before the first step
        there are no sums.
        """
        slot, weight = map(dense, (record.slot, variable))
        if not record.is_watched:
            return ops.where(ops.equal(self.iterations, 0), weight, slot)
        # Assigning all weights that are not zero costs less than comparing them.
        is_whole = _was_set(_sample(weight), _sample(slot))
        return ops.where(ops.logical_or(weight != 0.0, is_whole), weight, slot)


def _was_set(weight, slot):
    """Whether most of the weights of a sample that are not zero differ from their sums."""
    alive = weight != 0.0
    moved = ops.logical_and(alive, differs(weight, slot, tolerance(slot) * ops.abs(weight)))
    count, alive = (ops.sum(ops.cast(x, "float32")) for x in (moved, alive))
    return count > 0.1 * alive


def _sample(x):
    """Some thousand entries of a tensor, spread over it; all of a small one."""
    flat = ops.reshape(x, (-1,))
    return flat[:: max(flat.shape[0] // _SAMPLE, 1)]
