"""Sums of gradients from the initial weights, to which a threshold is applied."""

from keras import ops

from keras_sparse.masks.backend import dense
from keras_sparse.optimizers.proximal_optimizer import ProximalOptimizer


class AccumulatedOptimizer(ProximalOptimizer):
    """Base of the optimizers that compute the weights from a_t = w_1 − Σ learning_rate·g_t.

    Variables that are not thresholded follow SGD. Memory: one slot per thresholded weight.

    Args:
        learning_rate, groups, exclude, **kwargs: see `ProximalOptimizer`.
    """

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        for variable, record in self._variables_and_records():
            if record.is_thresholded:
                record.slot = self.add_variable_from_reference(variable, name="accumulator")
        self._add_removed()

    def update_step(self, gradient, variable, learning_rate):
        record = self._record(variable)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if record.is_thresholded:
            self._thresholded_step(record, gradient, variable, learning_rate)
        else:
            self.assign_sub(variable, learning_rate * gradient)

    def _thresholded_step(self, record, gradient, variable, learning_rate):
        raise NotImplementedError

    def _accumulate(self, record, start, gradient, learning_rate):
        value = start - learning_rate * gradient
        self.assign(record.slot, value)
        return value


class GrowingThreshold(AccumulatedOptimizer):
    """Base of the accumulated optimizers that soft-threshold by a growing threshold.

    k_t = k_{t−1} + increment, w_t = S(a_t, k_t): a learning rate that drops does not revive
    weights. A subclass writes `_increment`.

    Args:
        learning_rate, groups, exclude, **kwargs: see `ProximalOptimizer`.
    """

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._threshold = self._add_scalar("threshold")

    def _increment(self, learning_rate):
        """The amount that this step adds to the threshold, a float32 tensor."""
        raise NotImplementedError

    def _thresholds(self, learning_rate):
        """The thresholds of the previous step and of this one."""
        before = ops.convert_to_tensor(self._threshold)
        return before, before + self._increment(learning_rate)

    def _thresholded_step(self, record, gradient, variable, learning_rate):
        before, threshold = self._thresholds(learning_rate)
        start = self._sum_of_shrunk(record, variable, before)
        value = self._accumulate(record, start, gradient, learning_rate)
        self._assign_thresholded(record, variable, value, threshold)

    def _sum_of_shrunk(self, record, variable, threshold):
        """The sum that gives the weights, also if they were set from outside."""
        slot, weight = map(dense, (record.slot, variable))
        if not record.is_watched:
            return ops.where(ops.equal(self.iterations, 0), weight, slot)
        found, _ = self._before_threshold(record, weight, slot, threshold)
        return found

    def apply(self, grads, trainable_variables=None):
        """Apply gradients; then add this step's increment to the threshold."""
        increment = self._increment(self.learning_rate)
        super().apply(grads, trainable_variables)
        self._add_after_update(self._threshold, increment)
