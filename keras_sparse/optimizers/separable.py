"""Training steps that can be compiled without the update of the optimizer."""

import contextlib

from keras import ops

from keras_sparse import _keras


class SeparableUpdate:
    """Interface that `SeparateUpdates` uses for optimizers that update masks in some steps.

    In a compiled step a conditional decides whether the update is due. If the host counts the
    steps, it can run a program without the conditional.
    """

    _leaves_out_update = False

    @contextlib.contextmanager
    def without_update(self):
        """A context in which steps are traced and run without the update."""
        self._leaves_out_update = True
        try:
            yield
        finally:
            self._leaves_out_update = False

    def _updating_steps(self):
        """The first step that may update, from 0, and the steps between updates; None for none."""
        raise NotImplementedError

    def batches_without_update(self, done):
        """How many of the next batches have no update.

        Args:
            done: int, `iterations` so far, counted in batches where gradients are accumulated.

        Returns:
            int or infinity; 0 if the next batch may update; None if no step ever updates.
        """
        steps = self._updating_steps()
        if steps is None:
            return None
        micro_steps = self.gradient_accumulation_steps or 1
        # A step updates with the last of its gradients.
        first, period = (steps[0] + 1) * micro_steps - 1, steps[1] * micro_steps
        return first - done if done <= first else (first - done) % period

    def _is_last_micro_step(self):
        # JAX runs the whole step for each accumulated gradient, and keeps the result of the last
        # one.
        micro_steps = self.gradient_accumulation_steps or 1
        return ops.equal((ops.convert_to_tensor(_keras.batches(self)) + 1) % micro_steps, 0)


def once_known(gradients, condition):
    """`condition`, written so that XLA evaluates it after all gradients, a list of tensors.

    Nothing runs in parallel with a conditional, but the gradients of the layers run in parallel. If
    XLA put the conditional between them, steps of LeNet-5 on a CPU would be 15% longer.
    """
    undefined = [ops.cast(ops.isnan(ops.ravel(g)[0]), "int32") for g in gradients]
    return ops.logical_and(condition, sum(undefined) <= len(undefined))
