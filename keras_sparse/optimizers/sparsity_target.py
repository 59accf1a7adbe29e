"""A threshold for a share of zeros, found during training."""

import math

import keras
from keras import ops

from keras_sparse import _keras
from keras_sparse.masks.backend import dense
from keras_sparse.optimizers.proximal import group_size
from keras_sparse.optimizers.separable import SeparableUpdate, once_known
from keras_sparse.optimizers.targets import warn_of_missed_target, why_too_short
from keras_sparse.optimizers.threshold_search import find_thresholds
from keras_sparse.validation import check_integer, check_number
from keras_sparse.variables import by_path

# Steps between two searches for the threshold. A search reads every weight 20 times. With 100 steps
# in between, a search costs LeNet-300-100 5 points of accuracy for a while.
SEARCH_EVERY = 20

# What surgery removed from the network: the number of zeros, the number of weights of variables
# that were removed entirely, and by variable the sum of the sizes that thresholds are compared
# with.
_NOTHING = {"zeros": 0, "vanished": 0, "sizes": {}}


class FindsThresholds(SeparableUpdate):
    """Mixin of the optimizers with a `target_sparsity` instead of an `l1`.

    The threshold is the quantile, over all thresholded variables, that sets the requested share to
    zero. The share rises over `ramp_steps` by the cubic of Zhu and Gupta.

    The threshold is at most 0.9 of the largest value of a variable, so that no variable becomes
    empty. If this bound applies, more weights of the other variables become zero. By channel,
    ‖x‖/√n of a channel, divided by the mean of its layer, is compared with the threshold; at least
    a tenth of a layer's channels stays.

    A subclass defines `_searched`, and reads `Record.threshold`.
    """

    # `ScheduleOverTraining` lets the sparsity rise over this share of the training.
    schedule_share = 0.5
    # The optimizer's name in messages: the name that users write.
    made_by = "RDA"
    _cut_out = _NOTHING

    def _set_target(self, target_sparsity, ramp_steps):
        self.target_sparsity = check_number("target_sparsity", target_sparsity, "[0, 1)")
        self.ramp_steps = check_integer("ramp_steps", ramp_steps, "[1, inf)")

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._check_any([record.is_thresholded for record in self._records])
        # Saved with the state, so that a resumed training keeps its ramp.
        ramp_steps = keras.initializers.Constant(self.ramp_steps)
        self._ramp_end = self._add_scalar("ramp_end", initializer=ramp_steps)
        for variable, record in self._variables_and_records():
            if record.is_thresholded:
                # Named after its variable, like a slot, so that `slice_optimizer` finds it.
                record.threshold = self._add_scalar_of(variable, "threshold")

    def apply(self, grads, trainable_variables=None):
        """Apply gradients; in every 20th step, search for the thresholds first."""
        grads = list(grads)
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        if self.built:
            grads = self._with_zeros(grads, trainable_variables)
            if not self._leaves_out_update:
                self._search_if_due([dense(g) for g in grads if g is not None])
        super().apply(grads, trainable_variables)

    def _with_zeros(self, grads, variables):
        """Zeros for the gradients of weights that the loss does not depend on."""
        variables = variables or _keras.variables_of(self)
        if len(grads) != len(variables) or all(grad is None for grad in grads):
            return grads  # Keras refuses them
        return [
            ops.zeros(v.shape, v.dtype) if grad is None and self._record(v).is_thresholded else grad
            for grad, v in zip(grads, variables, strict=True)
        ]

    def _search_due(self):
        step = ops.convert_to_tensor(self.iterations)
        due = ops.logical_and(ops.equal(step % SEARCH_EVERY, 0), step > 0)
        return ops.logical_and(due, self._is_last_micro_step())

    def _search_if_due(self, gradients):
        thresholds = [record.threshold for _, _, record in self._searched_records()]
        old = [ops.convert_to_tensor(t) for t in thresholds]
        found = ops.cond(once_known(gradients, self._search_due()), self._search, lambda: old)
        for threshold, value in zip(thresholds, found, strict=True):
            threshold.assign(value)

    def _updating_steps(self):
        return SEARCH_EVERY, SEARCH_EVERY

    def _searched_records(self):
        """Index, variable and record of each thresholded variable."""
        pairs = enumerate(self._variables_and_records())
        return [(i, v, record) for i, (v, record) in pairs if record.is_thresholded]

    def _searched(self, record, variable):
        """The values of a variable whose sizes are compared with the threshold."""
        raise NotImplementedError

    def _search(self):
        searched, cut = self._searched_records(), self._cut_out
        sizes = [self._sizes(record, v) for _, v, record in searched]
        weights = [self._weights_of_each(i) for i, _, _ in searched]
        present = sum(math.prod(size.shape) * w for size, w in zip(sizes, weights, strict=True))
        # The target is a share of the network before surgery.
        whole = sum(self._whole_size(i) for i, _, _ in searched) + cut["vanished"]
        wanted = (self._sparsity_now() * whole - cut["zeros"]) / present
        if self.groups == "weight":
            return find_thresholds(self._without_frozen(sizes), wanted)
        # The channels of a layer differ by a few percent, layers by much more. So each channel is
        # compared with its layer's mean, which includes the removed channels.
        removed = [
            self._removed_channels(i, size) for (i, _, _), size in zip(searched, sizes, strict=True)
        ]
        means = [
            (ops.sum(size) + cut["sizes"].get(str(i), 0.0)) / (math.prod(size.shape) + n)
            for (i, _, _), size, n in zip(searched, sizes, removed, strict=True)
        ]
        relative = [
            size / ops.where(m == 0.0, 1.0, m) for size, m in zip(sizes, means, strict=True)
        ]
        found = find_thresholds(self._without_frozen(relative), wanted, weights, removed)
        return [threshold * mean for threshold, mean in zip(found, means, strict=True)]

    def _sizes(self, record, variable):
        """The sizes that are compared with the threshold of a variable, in float32."""
        value = ops.cast(dense(self._searched(record, variable)), "float32")
        return group_size(value, record.axes, record.removed_from(value))

    def _without_frozen(self, sizes):
        """Zeros for the sizes of weights that stay zero, although their sums may have grown."""
        frozen = []
        for _, variable, record in self._searched_records():
            stays = self._stays_zero(variable)
            axes = record.axes
            frozen.append(stays if axes is None else ops.all(stays, axis=axes, keepdims=True))
        return [ops.where(stay, 0.0, size) for stay, size in zip(frozen, sizes, strict=True)]

    def _whole_size(self, index):
        return math.prod(self._whole_shapes[index])

    def _weights_of_each(self, index):
        """How many weights each size represented before surgery."""
        axes = self._records[index].axes or ()
        return math.prod(self._whole_shapes[index][axis] for axis in axes)

    def _removed_channels(self, index, sizes):
        return self._whole_size(index) // self._weights_of_each(index) - math.prod(sizes.shape)

    def take_over(self, old, slices):
        """Continue from the state of the optimizer of the network before surgery.

        Removed zeros still count for the target.

        Args:
            old: the optimizer, built, of the model before channels were removed.
            slices: dict from the path of a variable to its `VariableSlice`, see `Report.slices`.
        """
        super().take_over(old, slices)
        paths = list(by_path(_keras.variables_of(old)))
        indices = {paths[i]: i for i, _, _ in old._searched_records()}
        before, zeros, sizes = old._cut_out, old._cut_out["zeros"], {}
        for index, variable, _ in self._searched_records():
            part = slices[variable.path]
            source = indices.pop(part.source)
            kept = part if old._records[source].axes is None else part.spanning
            size, dead = old._sizes_and_dead(source)
            zeros += int(dead.sum() - kept(dead).sum()) * old._weights_of_each(source)
            taken = float(size.sum() - kept(size).sum())
            sizes[str(index)] = before["sizes"].get(str(source), 0.0) + taken
        for source in indices.values():
            dead = old._sizes_and_dead(source)[1]
            zeros += int(dead.sum()) * old._weights_of_each(source)
        vanished = before["vanished"] + sum(map(old._whole_size, indices.values()))
        self._cut_out = {"zeros": zeros, "vanished": vanished, "sizes": sizes}

    def _sizes_and_dead(self, index):
        record, variable = self._records[index], _keras.variables_of(self)[index]
        size = ops.convert_to_numpy(self._sizes(record, variable))
        alive = ops.convert_to_numpy(variable) != 0
        return size, ~(alive if record.axes is None else alive.any(record.axes, keepdims=True))

    def _sparsity_now(self):
        ramp_end = ops.convert_to_tensor(self._ramp_end)
        done = ops.minimum(ops.cast(self.iterations, "float32") / ramp_end, 1.0)
        return self.target_sparsity * (1.0 - (1.0 - done) ** 3)

    def end_schedule(self, step):
        """Let the sparsity rise until this step; a training that has begun keeps its ramp.

        Args:
            step: int, replaces `ramp_steps`.
        """
        step = check_integer("step", step, "[1, inf)")
        if int(ops.convert_to_numpy(self.iterations)) > 0:
            return
        self.ramp_steps = step
        if self.built:
            self._ramp_end.assign(step)

    def finalize_variable_values(self, var_list):
        """Called by `fit` when training ends: warns if the target is not met."""
        super().finalize_variable_values(var_list)
        warn_of_missed_target(
            self, self.target_sparsity, self.thresholded_variables, self._why_not()
        )

    def _why_not(self):
        steps, end = (int(ops.convert_to_numpy(x)) for x in (self.iterations, self._ramp_end))
        if steps <= end or steps <= SEARCH_EVERY:
            return why_too_short(max(end, SEARCH_EVERY), steps)
        return (
            "A threshold is at most 0.9 of a variable's largest value, and a tenth of the channels "
            "of a layer stays. Lower `target_sparsity`, or exclude less."
        )

    def get_config(self):
        """The arguments, for `keras.saving`, and the counts of what surgery removed."""
        config = {
            **super().get_config(),
            "target_sparsity": self.target_sparsity,
            "ramp_steps": self.ramp_steps,
        }
        if self._cut_out != _NOTHING:
            config["cut_out"] = self._cut_out
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        cut_out = config.pop("cut_out", _NOTHING)
        optimizer = super().from_config(config, custom_objects)
        optimizer._cut_out = cut_out
        return optimizer
