"""Training steps without an update, compiled separately."""

import functools

import keras

from keras_sparse import _keras
from keras_sparse.loss_scaling import bare_optimizer


class SeparateUpdates(keras.callbacks.Callback):
    """Compiles the training step twice, with the optimizer's update and without.

    A step that changes masks every 100 steps, or searches for a threshold every 20, contains a
    conditional. Unless XLA puts it into a CUDA graph, as on JAX 0.11, the host waits for the GPU
    in every step to evaluate it. This callback counts the steps on the host, and runs the program
    without the conditional whenever no update can be due. On JAX, training also starts sooner,
    because the program with the update is compiled when the first update is due. Keras'
    conditionals for the loss scale of float16 and for accumulated gradients stay.

    It works with every optimizer that updates inside its step: `SparseMomentum`, `RigL`, `SET`,
    `DSR`, `DeepR`, `SNIP` and `MagnitudePruning` with `update_every`, and `RDA` with a target.

    The optimizer's count of steps is read at the start of an epoch. It is also read after each
    update if a step may be skipped (mixed precision with float16) or if `train_step` is not Keras'
    own.

    Raises:
        ValueError: when training begins, the optimizer has no update inside its step.
        RuntimeError: `train_step` applied gradients more than once a batch, so an update may have
            been missed.

    Example:

    >>> model.compile(RigL(0.1, density=0.1), loss)
    >>> model.fit(dataset, epochs=10, callbacks=[SeparateUpdates()])
    """

    def on_train_begin(self, logs=None):
        """Check the optimizer."""
        optimizer = bare_optimizer(self.model.optimizer)
        batches = getattr(optimizer, "batches_without_update", lambda done: None)
        if batches(0) is None:
            raise ValueError(
                "SeparateUpdates needs an optimizer that updates inside its step, such as "
                "SparseMomentum(update_every=100) or RDA(target_sparsity=0.9). "
                f"Received: {optimizer.get_config()}"
            )
        self._programs = None

    def on_epoch_begin(self, epoch, logs=None):
        """Replace the training function of a new model, and read the count of steps again."""
        if self.model.train_function is not self._programs:
            self._make_programs()
        self._forget_count()

    def _make_programs(self):
        model, optimizer = self.model, bare_optimizer(self.model.optimizer)
        if not isinstance(model.train_function, _TwoPrograms):
            model.train_function = _TwoPrograms(model, optimizer)
        self._programs, self._optimizer = model.train_function, optimizer
        self._steps_per_call = model.steps_per_execution
        own_step = getattr(model.train_step, "__func__", None) is keras.Model.train_step
        self._may_miscount = not own_step or optimizer is not model.optimizer
        self._count = self._at_most = None

    def on_train_batch_begin(self, batch, logs=None):
        """Choose the program for this batch."""
        if self._count is None:
            self._count = self._read()
        if self._count is None:
            return
        may_update = self._optimizer.batches_without_update(self._count) < self._steps_per_call
        self._programs.skip_update = not may_update
        self._count += self._steps_per_call
        if may_update and self._may_miscount:
            self._forget_count()

    def _forget_count(self):
        if self._count is not None:
            self._at_most, self._count = self._count, None

    def _read(self):
        """The optimizer's count of steps; None before it is built."""
        # On JAX `self.model` synchronizes all variables and waits, so it is not read in every step.
        optimizer = bare_optimizer(self.model.optimizer)
        if not optimizer.built:
            return None
        count = int(keras.ops.convert_to_numpy(_keras.batches(optimizer)))
        if self._at_most is not None and count > self._at_most:
            raise RuntimeError(
                "SeparateUpdates counts one step for a batch, but there were more: "
                f"{count} instead of {self._at_most}, so an update may have been left out. "
                "Train without it where `train_step` applies gradients more than once."
            )
        return count


class _TwoPrograms:
    """A `train_function` that runs the program chosen for the next batch."""

    def __init__(self, model, optimizer):
        self._optimizer = optimizer
        self._whole = model.train_function
        self._ordinary = _another_train_function(model)
        self.skip_update = False

    def __call__(self, *arguments):
        if not self.skip_update:
            return self._whole(*arguments)
        self.skip_update = False
        with self._optimizer.without_update():
            return self._ordinary(*arguments)


def _another_train_function(model):
    """A second `train_function`, with its own trace."""
    first, step = model.train_function, model.train_step
    overridden = vars(model).get("train_step")
    # JAX caches traces by function, so the same function twice would give one program.
    model.train_step = functools.partial(step)
    try:
        model.make_train_function(force=True)
        return model.train_function
    finally:
        model.train_function = first
        del model.train_step
        if overridden is not None:
            model.train_step = overridden
