"""What the optimizers that threshold weights share."""

import keras
from keras import ops

from keras_sparse.masks.backend import dense
from keras_sparse.optimizers.choice import ChoosesVariables
from keras_sparse.optimizers.proximal import channel_axes, group_size, soft_threshold
from keras_sparse.validation import check_learning_rate
from keras_sparse.variables import (
    dead_layers,
    is_prunable,
    warn_of_dead_layers,
)

# So many weights of a variable tell whether it was set as a whole.
_SAMPLE = 4096


class ProximalOptimizer(ChoosesVariables, keras.optimizers.Optimizer):
    """Base of the optimizers that set weights to exactly zero by a proximal step.

    It decides in `build` which variables are thresholded and in which groups, keeps zeros at zero
    while retraining, and refuses what a threshold cannot go with. A subclass writes `update_step`
    and ends it with `_assign_thresholded`.

    Args:
        learning_rate: float, schedule or callable.
        groups: `"weight"`, every weight by itself, or `"channel"`: all weights that lead into one
            output channel live or die together. By channel, the last kernel, which in a classifier
            holds a column for each class, is still thresholded by weight.
        exclude: what is kept dense besides biases and normalisation: a regular expression for
            `variable.path`, a built layer, a variable, or a list of those.
        **kwargs: the other arguments of `keras.optimizers.Optimizer` (`clipnorm`, `name`, …),
            less `weight_decay` and `use_ema`.
    """

    def __init__(self, learning_rate, groups="weight", exclude=None, **kwargs):
        if groups not in ("weight", "channel"):
            raise ValueError(f"`groups` must be 'weight' or 'channel'. Received: groups={groups!r}")
        learning_rate = check_learning_rate(learning_rate)
        if kwargs.get("weight_decay"):
            raise ValueError(
                f"{type(self).__name__} takes no `weight_decay`: it computes the weights anew from "
                "its own state, so a decay would be lost. Use `l1`, or a `kernel_regularizer`. "
                f"Received: weight_decay={kwargs['weight_decay']}"
            )
        if kwargs.get("use_ema"):
            raise ValueError(
                f"{type(self).__name__} takes no `use_ema`: an average over steps is zero only "
                "where every step was, so the network would not be sparse. Received: use_ema=True"
            )
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.groups = groups
        self._set_exclude(exclude)

    def build(self, variables):
        """Sort the variables into thresholded and dense; see the class."""
        if self.built:
            return
        super().build(variables)
        # On TensorFlow `update_step` gets variables without a path: decide here, look up by index.
        self._thresholded = self._choose(variables)
        self._group_axes = [
            self._axes_of(v) if chosen else None
            for v, chosen in zip(variables, self._thresholded, strict=True)
        ]
        kernels = [i for i, v in enumerate(variables) if is_prunable(v)]
        if kernels:
            self._group_axes[kernels[-1]] = None
        self._retraining = self._add_scalar("retraining", "bool")
        self._gone = [None] * len(variables)
        # A constraint moves the weights after each step, and that is not somebody from outside.
        self._watched = [v.constraint is None for v in variables]

    def _axes_of(self, variable):
        if self.groups == "weight":
            return None
        return channel_axes(variable.path.rsplit("/", 1)[-1], variable.shape)

    def _add_scalar(self, name, dtype="float32", initializer="zeros"):
        return self.add_variable(
            (), initializer, dtype=dtype, aggregation="only_first_replica", name=name
        )

    def _add_slots(self, name, wanted):
        return [
            self.add_variable_from_reference(v, name=name) if want else None
            for v, want in zip(self._trainable_variables, wanted, strict=True)
        ]

    def _add_gone(self):
        """Slots for what surgery takes out of a group whose sums of gradients go on counting.

        The threshold is compared with the norm over all that a channel reads. Without the part
        that reads dead channels, whose gradients are zero, the rest would move several times as
        fast.
        """
        for i, (variable, axes) in enumerate(
            zip(self._trainable_variables, self._group_axes, strict=True)
        ):
            if self._thresholded[i] and axes is not None:
                name = variable.path.replace("/", "_")
                shape = [1 if a in axes else size for a, size in enumerate(variable.shape)]
                squares = self.add_variable(shape, dtype="float32", name=f"{name}_gone_squares")
                self._gone[i] = self._add_scalar(f"{name}_gone_count"), squares

    def start_retraining(self):
        """From now on a weight that is or becomes zero stays zero.

        The second phase of adaptive sparse retraining. The set of zeros is the weights' own, and
        the phase is a variable of the optimizer, so a checkpoint holds both.

        Raises:
            ValueError: the optimizer is not built yet.

        Reference:
            Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, section 4.
        """
        if not self.built:
            raise ValueError(
                "`start_retraining()` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)`, or train first."
            )
        self._retraining.assign(True)

    def _step(self):
        """Number of this step from 1, in float32: half precision cannot count."""
        return ops.cast(self.iterations, "float32") + 1.0

    def _is_update(self):
        """Whether the step that just ended was a whole update."""
        micro_steps = self.gradient_accumulation_steps or 1
        return ops.equal(ops.convert_to_tensor(self._iterations) % micro_steps, 0)

    def _add_after_update(self, variable, increment):
        self._assign_after_update(variable, ops.convert_to_tensor(variable) + increment)

    def _assign_after_update(self, variable, value):
        variable.assign(ops.where(self._is_update(), value, ops.convert_to_tensor(variable)))

    def _accumulate(self, index, gradient, variable, learning_rate, threshold=None):
        """w_1 − Σ learning_rate·gradient, kept in `self._accumulators`.

        Args:
            index, gradient, variable, learning_rate: of one variable.
            threshold: what the step before has thresholded the sum by. None if it set to zero
                without shrinking.
        """
        slot = self._accumulators[index]
        if threshold is None:
            start = self._sum_of_chosen(index, variable)
        else:
            start = self._sum_of_shrunk(index, variable, threshold)
        value = start - learning_rate * gradient
        self.assign(slot, value)
        return value

    def _sum_of_chosen(self, index, variable):
        """The sum that the weights are made of, or the weights where they were set from outside.

        A weight that is not zero is its sum. Where most of a variable differs, its zeros are from
        outside as well. The first step finds no sum and starts from the weights.
        """
        slot, weight = map(dense, (self._accumulators[index], variable))
        if not self._watched[index]:
            return ops.where(ops.equal(self.iterations, 0), weight, slot)
        # Every weight that is not zero is taken, which costs less than to compare it.
        is_whole = self._was_set(_sample(weight), _sample(slot))
        return ops.where(ops.logical_or(weight != 0.0, is_whole), weight, slot)

    def _was_set(self, weight, slot):
        """Whether most of the weights of a sample that are not zero differ from their sums."""
        alive = weight != 0.0
        moved = ops.logical_and(alive, ops.abs(weight - slot) > tolerance(slot) * ops.abs(weight))
        count, alive = (ops.sum(ops.cast(x, "float32")) for x in (moved, alive))
        return count > 0.1 * alive

    def _sum_of_shrunk(self, index, variable, threshold):
        """The same where the weights are sums that were shrunk by a threshold."""
        slot, weight = map(dense, (self._accumulators[index], variable))
        if not self._watched[index]:
            return ops.where(ops.equal(self.iterations, 0), weight, slot)
        found, _ = self._before_threshold(index, weight, slot, threshold)
        return found

    def _before_threshold(self, index, weight, value, threshold, gone_scale=1.0):
        """What was thresholded to become the weights.

        Args:
            index: of the variable.
            weight: tensor, the weights as they are.
            value: tensor, what the optimizer knows of.
            threshold: scalar tensor, that of the step before.
            gone_scale: see `_gone_from`.

        Returns:
            `value` where it gives the weights, else what does; and a bool tensor, where it does
            not.
        """
        axes, threshold = self._group_axes[index], ops.cast(threshold, value.dtype)
        gone = self._gone_from(index, value, gone_scale)
        expected = soft_threshold(value, threshold, axes, gone)
        reach = tolerance(value) * (ops.abs(value) + threshold)
        moved = ops.abs(weight - expected) > reach
        if axes is None:
            return ops.where(moved, weight + ops.sign(weight) * threshold, value), moved
        moved = ops.any(moved, axis=axes, keepdims=True)
        if gone is not None:
            count, squares = gone
            gone = count, ops.zeros_like(squares)
            variable = self._gone[index][1]
            kept = ops.where(moved, 0.0, ops.convert_to_tensor(variable))
            self.assign(variable, ops.cast(kept, variable.dtype))
        size = group_size(weight, axes, gone)
        grown = weight * (1.0 + threshold / ops.where(size == 0.0, 1.0, size))
        return ops.where(moved, grown, value), moved

    def _gone_from(self, index, value, scale=1.0):
        """What is gone from the groups, times `scale` to be what it would be in `value`."""
        if self._gone[index] is None:
            return None
        count, squares = map(ops.convert_to_tensor, self._gone[index])
        squares = squares * ops.square(scale)
        return [ops.cast(part, value.dtype) for part in (count, squares)]

    def _assign_thresholded(self, index, variable, value, threshold, gone_scale=1.0):
        """Threshold a value; for `gone_scale` see `_gone_from`."""
        threshold = ops.cast(threshold, value.dtype)
        gone = self._gone_from(index, value, gone_scale)
        value = soft_threshold(value, threshold, self._group_axes[index], gone)
        self._assign_or_stay_zero(variable, value)

    def _assign_or_stay_zero(self, variable, value):
        """Assign, but while retraining what is zero stays zero."""
        stays_zero = ops.logical_and(
            ops.convert_to_tensor(self._retraining), ops.convert_to_tensor(variable) == 0.0
        )
        self.assign(variable, ops.where(stays_zero, ops.zeros_like(value), value))

    def finalize_variable_values(self, var_list):
        """Called by `fit` when training ends: warns of a network that died."""
        super().finalize_variable_values(var_list)
        warn_of_dead_layers(dead_layers(self.thresholded_variables))

    @property
    def thresholded_variables(self):
        """The variables that are made sparse, a list."""
        return [self._trainable_variables[i] for i in self._thresholded_indices()]

    def _thresholded_indices(self):
        return [i for i, is_thresholded in enumerate(self._thresholded) if is_thresholded]

    def get_config(self):
        """The arguments, for `keras.saving`."""
        return {**super().get_config(), "groups": self.groups}


def _sample(x):
    """Some thousand entries of a tensor, spread over it; all of a small one."""
    flat = ops.reshape(x, (-1,))
    return flat[:: max(flat.shape[0] // _SAMPLE, 1)]


def tolerance(x):
    """How far a weight may be, as a share, from what it is computed to be."""
    return 1e-3 if keras.backend.standardize_dtype(x.dtype) in ("float32", "float64") else 0.04
