"""Masks that change between training steps, instead of inside them."""

import keras

from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.validation import check_integer


class MaskUpdate(keras.callbacks.Callback):
    """Calls `optimizer.update_masks()` every so many steps, or once an epoch.

    Use it with an optimizer with `update_every=None`: its step is compiled without the update. The
    masks are the same as with the update inside the step. No update follows the last epoch.

    Args:
        every: int, the number of steps between updates, or `"epoch"`. Defaults to `"epoch"`.
            The count of steps is read only when an update may be due, because reading makes the
            host wait for the device. So a `train_step` that applies gradients more than once a
            batch needs the update inside the step.

    Raises:
        ValueError: `every` is neither; or, when training begins, the optimizer has no masks that
            change, updates them itself, or `steps_per_execution` would jump over updates.

    Example:

    >>> model.compile(SparseMomentum(0.1, density=0.05, update_every=None), loss)
    >>> model.fit(dataset, epochs=10, callbacks=[MaskUpdate("epoch")])
    """

    def __init__(self, every="epoch"):
        super().__init__()
        is_epoch = isinstance(every, str) and every == "epoch"
        self.every = every if is_epoch else check_integer("every", every, "[1, inf)")
        self._calls_to_skip = 0

    @property
    def _optimizer(self):
        return bare_optimizer(self.model.optimizer)

    def on_train_begin(self, logs=None):
        """Check that the optimizer leaves the updates to this callback."""
        if getattr(self._optimizer, "update_every", "missing") is not None:
            raise ValueError(
                "MaskUpdate needs an optimizer whose masks change, such as SparseMomentum, with "
                f"update_every=None. Received: {self._optimizer.get_config()}"
            )
        if self.every != "epoch" and self.every % self.model.steps_per_execution:
            raise ValueError(
                "`every` must be a multiple of `steps_per_execution`. Received: "
                f"every={self.every}, steps_per_execution={self.model.steps_per_execution}"
            )
        steps, at_once = self.params.get("steps"), self.model.steps_per_execution
        if self.every != "epoch" and at_once > 1 and (steps is None or steps % at_once):
            raise ValueError(
                "`steps_per_execution` must divide the number of steps of an epoch, or updates are "
                f"left out. Received: steps_per_execution={at_once}, {steps} steps; give `fit` "
                "`steps_per_epoch`, or drop the last batches."
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Update the masks, except before the first step."""
        self._calls_to_skip = 0
        optimizer = self._optimizer
        if self.every != "epoch" or not optimizer.built:
            return
        if keras.ops.convert_to_numpy(optimizer.iterations) > 0:
            optimizer.update_masks()

    def on_train_batch_begin(self, batch, logs=None):
        """Update the masks if an update is due."""
        if self.every == "epoch":
            return
        if self._calls_to_skip:
            self._calls_to_skip -= 1
            return
        # On JAX `self.model` synchronizes its variables, so it is not read in every step.
        model, optimizer = self.model, self._optimizer
        if not optimizer.built:
            return
        ahead = optimizer.batches_to_update(self.every)
        if ahead == 0:
            optimizer.update_masks()
            ahead = self.every
        self._calls_to_skip = max(ahead // model.steps_per_execution, 1) - 1
