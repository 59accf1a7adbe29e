"""Masks that change during training."""

import functools

import numpy as np
from keras import ops

from keras_sparse import _keras
from keras_sparse.masks.backend import compiled, dense
from keras_sparse.optimizers.masked import MaskedOptimizer
from keras_sparse.optimizers.separable import SeparableUpdate, once_known
from keras_sparse.optimizers.snapshot import Snapshot
from keras_sparse.validation import check_integer


class DynamicMaskOptimizer(SeparableUpdate, MaskedOptimizer):
    """Base of the optimizers whose masks change while they train.

    Masks change in step `t` whenever `t > 0` is a multiple of `every`, in the compiled step, after
    the gradients are known and before they are applied. So masks never change between the last
    step of an epoch and its validation.

    A subclass writes `_rewire`, which maps a `Snapshot` to new masks.

    Args:
        learning_rate: float, schedule, callable or None; see `MaskedOptimizer`.
        schedule: a `Schedule`, which `_amounts` evaluates.
        every: int, the number of steps between updates, or None: only `update_masks()` changes the
            masks.
        **kwargs: the other arguments of `MaskedOptimizer`.
    """

    _masks_move = True
    # Whether `_rewire` looks at gradients.
    needs_gradients = False
    # Whether a step that changes masks skips training.
    pauses = False
    # The name of the argument that is a schedule.
    _scheduled = "prune_rate"
    # `ScheduleOverTraining` ends the schedule at this share of the training.
    schedule_share = 1.0

    def __init__(
        self,
        learning_rate,
        schedule,
        every,
        **kwargs,
    ):
        super().__init__(learning_rate, **kwargs)
        self._schedule = schedule
        self._ended_at = 0
        self._every = every

    def _add_state(self, sparse):
        if self.needs_gradients and self.clipvalue is not None:
            raise ValueError(
                f"{type(self).__name__} compares gradients, which `clipvalue` makes equal: give "
                f"`clipnorm` or `global_clipnorm`. Received: clipvalue={self.clipvalue}"
            )
        changes = np.zeros(len(sparse), "int32")
        # Saved with the state, so that a resumed training keeps its schedule. 0: the schedule's own
        # end.
        self._schedule_end = self._add_constant("schedule_end", np.int32(self._ended_at))
        self._pruned = self._add_constant("pruned", changes)
        self._grown = self._add_constant("grown", changes)
        self._extras = self._add_extras(sparse)

    def _add_extras(self, sparse):
        """Create further state of a method; returns the list of state that `_rewire` updates."""
        return []

    @property
    def mask_changes(self):
        """The changes of the last update: `{path: {"pruned": int, "grown": int}}`."""
        pruned, grown = (ops.convert_to_numpy(v) for v in (self._pruned, self._grown))
        return {
            path: {"pruned": int(pruned[k]), "grown": int(grown[k])}
            for k, path in enumerate(self.masks)
        }

    def end_schedule(self, step):
        """Let the schedule end at this step; a training that has begun keeps its end.

        Args:
            step: int.

        Raises:
            ValueError: there is no schedule with an end, or the training has begun with it.
        """
        step = check_integer("step", step, "[1, inf)")
        if self.built:
            step = int(ops.convert_to_numpy(self._schedule_end)) or step
        schedule = self._schedule.ending_at(step)
        if schedule == self._schedule:
            return
        if "_amounts_by_update" in self.__dict__:
            raise ValueError(
                "The schedule is part of the steps that were trained already: compile the model "
                f"with a new {type(self).__name__} before its end is changed."
            )
        self._schedule = schedule
        setattr(self, self._scheduled, schedule)
        self._ended_at = step
        if self.built:
            self._schedule_end.assign(step)

    def _amounts(self, steps):
        """The values of the schedule at these steps, an array; `_rewire` gets one row of it.

        NumPy computes it, because the cosine differs between compiled and eager code.
        """
        return np.array([self._schedule(step) for step in steps], "float32")

    @functools.cached_property
    def _amounts_by_update(self):
        updates = -(-self._schedule.end // self._every) + 2
        return self._amounts(range(0, updates * self._every, self._every))

    def _is_active(self, amounts):
        """Whether each update changes anything."""
        return amounts > 0

    def _would_change(self, amount):
        """Whether an update between steps changes anything."""
        return self._is_active(amount)

    def _by_update(self, table):
        """The row for this step of a table with one row per update."""
        number = ops.cast(self.iterations, "int32") // self._every
        return ops.take(table, ops.minimum(number, len(table) - 1), axis=0)

    def _amount(self):
        return self._by_update(self._amounts_by_update)

    def _due(self):
        """Whether this step changes the masks."""
        step = ops.cast(self.iterations, "int32")
        active = self._by_update(self._is_active(self._amounts_by_update))
        due = ops.logical_and(ops.equal(step % self._every, 0), ops.logical_and(step > 0, active))
        return ops.logical_and(due, self._is_last_micro_step())

    def _rewire(self, snapshot):
        """New masks.

        Args:
            snapshot: the `Snapshot` of the network.

        Returns:
            A tuple: packed bool masks, how many were pruned by layer, how many grown by layer
            (int32), and a list of new values for what `_add_extras` returned.
        """
        raise NotImplementedError

    def _tensors(self, gradients, amount):
        """The contents of a snapshot, as plain tensors."""

        def values(variables):
            return [dense(variables[i]) for i in self._sparse]

        return {
            "weights": values(_keras.variables_of(self)),
            "masks": values(self._masks),
            "slots": [values(slots) for slots in self._scored_slots()],
            "gradients": gradients,
            "extras": [dense(v) for v in self._extras],
            "amount": amount,
            "seed": dense(self._seed),
            "step": ops.cast(self.iterations, "int32"),
        }

    def _scored_slots(self):
        """The slots that `_rewire` reads, as lists by variable: the momentum, and its scale."""
        return []

    def _rewired(self, tensors):
        mask, pruned, grown, extras = self._rewire(Snapshot(self._packing, tensors))
        return [*self._packing.unpack(mask), pruned, grown, *extras]

    @functools.cached_property
    def _compiled_rewired(self):
        return compiled(self._rewired)

    def _mask_state(self):
        """The variables that an update writes, in the order of `_rewired`."""
        return [*(self._masks[i] for i in self._sparse), self._pruned, self._grown, *self._extras]

    def _update_in_step(self, gradients):
        gradients = [dense(gradients[i]) for i in self._sparse]
        due = once_known(gradients, self._due())
        gradients = gradients if self.needs_gradients else []
        amount = self._amount()
        variables = self._mask_state()
        old = [ops.convert_to_tensor(v) for v in variables]
        tensors = self._tensors(gradients, amount)
        new = ops.cond(due, lambda: self._compiled_rewired(tensors), lambda: old)
        # JAX allows no assignment inside a branch.
        for variable, value in zip(variables, new, strict=True):
            self.assign(variable, value)

    def _updating_steps(self):
        return None if self._every is None else (self._every, self._every)

    def batches_to_update(self, every):
        """How many batches are left before masks change every `every` steps; 0 for now.

        A step takes `gradient_accumulation_steps` batches, and one more for each batch that is
        skipped. So the number may be too small, never too large.
        """
        period = every * (self.gradient_accumulation_steps or 1)
        done = int(ops.convert_to_numpy(_keras.batches(self)))
        return -done % period if done else period

    def update_masks(self, gradients=None):
        """Change the masks before the next training step, instead of inside it.

        With `update_every=None` nothing else changes them. If it is called whenever the count of
        steps is a multiple of N, the masks are the same as with `update_every=N`. The pruned
        weights still take part in the forward pass of the next step, and that step sets them to
        zero. So call it right before a step, as `MaskUpdate` does, and save or evaluate after a
        step. RigL uses a whole step for the update, and sets them to zero at once. If the schedule
        is at zero, nothing changes.

        Args:
            gradients: for methods that grow by gradient, a list of gradients, one for each
                trainable variable.

        Raises:
            ValueError: the optimizer is not built, or gradients are missing.
        """
        if not self.built:
            raise ValueError(
                "`update_masks()` needs a built optimizer: call "
                "`optimizer.build(model.trainable_variables)`, or train first."
            )
        if self.needs_gradients and gradients is None:
            raise ValueError(
                f"{type(self).__name__} grows by gradient: give `update_masks(gradients=...)`, or "
                "let the training step do it with update_every=<number of steps>."
            )
        (amount,) = self._amounts([int(ops.convert_to_numpy(self.iterations))])
        if not self._would_change(amount):
            return
        gradients = (
            [self._finite(gradients[i]) for i in self._sparse] if self.needs_gradients else []
        )
        new = self._compiled_rewired(self._tensors(gradients, ops.convert_to_tensor(amount)))
        for variable, value in zip(self._mask_state(), new, strict=True):
            variable.assign(value)
        if self.pauses:
            self._mask_variables(_keras.variables_of(self))
            self._mask_slots()

    def _updates_in_step(self):
        return self._every is not None and not self._leaves_out_update

    def _before_step(self, gradients, variables):
        if self._updates_in_step():
            indices = [_keras.index_of(self, v) for v in variables]
            self._update_in_step(dict(zip(indices, gradients, strict=True)))

    def _is_paused(self):
        return self._due() if self.pauses and self._updates_in_step() else None
