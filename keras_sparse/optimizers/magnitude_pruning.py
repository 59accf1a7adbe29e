"""Magnitude pruning: at once or gradually."""

import math
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from keras_sparse import _keras
from keras_sparse._types import LearningRate, Share, UpdateEvery
from keras_sparse.masks.backend import value_outside_trace
from keras_sparse.masks.distributions import global_budget, layer_budgets
from keras_sparse.masks.schedules import CubicSchedule, as_schedule
from keras_sparse.masks.selection import select_globally, select_largest
from keras_sparse.optimizers.targets import warn_of_missed_target, why_too_short
from keras_sparse.optimizers.updates import UpdatesEvery


@keras.saving.register_keras_serializable(package="keras_sparse")
class MagnitudePruning(UpdatesEvery):
    """Prunes the smallest weights, to a constant sparsity or by a schedule.

    A schedule gives gradual pruning: training starts with a dense network and prunes it step by
    step. A number prunes and fine-tunes a trained model: the smallest weights are pruned at once,
    and stay zero while `fit` trains the others.

    A weight that was pruned does not come back. The last weight of a layer is never pruned.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        sparsity: float in [0, 1), a schedule over the steps, such as
            `CubicSchedule(0.0, 0.9, end=steps)`, or `OneShotSchedule(0.9, end=steps)`, or None: the
            share of weights that are zero.
            Defaults to None, `CubicSchedule(0.0, 0.9, end=300)`. It should last half of the
            training; the callback `ScheduleOverTraining()` sets its end.
        scope: `"layer"`, the same sparsity in each layer; `"erk"`, large layers become sparser
            than small ones, see `masks.distributions.layer_budgets`; or `"global"`, the smallest
            weights of the whole network, for trained networks. Defaults to None: `"erk"`
            where no `sparsity` is given, else `"layer"`.
        update_every: int, `"epoch"` (with `steps_per_epoch`), or None for `update_masks()` only.
            Defaults to 20.
        steps_per_epoch: int, the number of batches of an epoch.
        **kwargs: the other arguments of `MaskedOptimizer`: `momentum`, `nesterov`, `inner`,
            `exclude`, and those of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: a sparsity that falls over time; on `build`, one that leaves a layer empty.

    Example:

    >>> # Gradual pruning.
    >>> model.compile(MagnitudePruning(0.1, CubicSchedule(0.0, 0.9, end=5000)), loss)
    >>> model.fit(dataset, epochs=10)
    >>> # Train, prune, fine-tune.
    >>> model.compile("adam", loss)
    >>> model.fit(dataset, epochs=10)
    >>> model.compile(MagnitudePruning(0.01, sparsity=0.9, scope="global"), loss)
    >>> model.fit(dataset, epochs=10)

    Reference:
        [Zhu and Gupta, 2017](https://arxiv.org/abs/1710.01878), equation 1;
        [Han et al., 2015](https://arxiv.org/abs/1506.02626), section 3.
    """

    _scheduled = "sparsity"
    schedule_share = 0.5

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        sparsity: Share | None = None,
        scope: Literal["layer", "erk", "global"] | None = None,
        update_every: UpdateEvery = 20,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        if scope is None:
            scope = "erk" if sparsity is None else "layer"
        if scope not in ("layer", "erk", "global"):
            raise ValueError(
                f"`scope` must be 'layer', 'erk' or 'global'. Received: scope={scope!r}"
            )
        if sparsity is None:
            sparsity = CubicSchedule(0.0, 0.9, end=300)
        schedule = as_schedule("sparsity", sparsity)
        if schedule(schedule.end) >= 1:
            raise ValueError(
                f"`sparsity` must be below 1: each layer keeps a weight. Received: {sparsity=}"
            )
        if schedule(schedule.end) < schedule(0):
            raise ValueError(
                "Pruned weights do not come back, so `sparsity` must not fall over time. "
                f"Received: sparsity={sparsity}"
            )
        super().__init__(learning_rate, schedule, update_every, steps_per_epoch, **kwargs)
        self.sparsity = schedule
        self.scope = scope

    def _initial_masks(self, sparse, rng):
        # The sparsity is a share of the network before surgery.
        self._shapes = [tuple(self._whole_shapes[i]) for i in self._sparse]
        self._paths = [self._first_paths[i] for i in self._sparse]
        first, _ = self._amounts([0, self.sparsity.end])
        if sum(map(math.prod, self._shapes)) == first.sum():
            return [np.ones(v.shape, bool) for v in sparse]
        sizes = [np.abs(value_outside_trace(v)) for v in sparse]
        if self.scope != "global":
            return [_largest(x, count) for x, count in zip(sizes, first, strict=True)]
        for x in sizes:
            x.flat[x.argmax()] = np.inf
        flat = _largest(np.concatenate([x.ravel() for x in sizes]), first[0])
        stops = np.cumsum([x.size for x in sizes])[:-1]
        return [part.reshape(x.shape) for part, x in zip(np.split(flat, stops), sizes, strict=True)]

    def _amounts(self, steps):
        densities = [1.0 - self._schedule(step) for step in steps]
        if self.scope == "global":
            sizes = [math.prod(shape) for shape in self._shapes]
            counts = [[global_budget(sizes, density)] for density in densities]
        else:
            distribution = "erk" if self.scope == "erk" else "uniform"
            *counts, last = (
                layer_budgets(self._shapes, self._paths, density, distribution)
                for density in (*densities, 1.0 - self._schedule(self._schedule.end))
            )
            # Rounding may give a layer one weight more at a lower density, but no weight may come
            # back.
            counts = np.maximum(counts, last)
        return np.array(counts, "int32")

    def _is_active(self, amounts):
        return np.any(np.diff(amounts, axis=0, prepend=amounts[:1]) != 0, axis=1)

    def _would_change(self, amount):
        kept = [ops.sum(ops.cast(mask, "int32")) for mask in self.masks.values()]
        kept = np.array([int(ops.convert_to_numpy(count)) for count in kept])
        return np.any(amount != (kept.sum() if self.scope == "global" else kept))

    def _rewire(self, snapshot):
        select = select_globally if self.scope == "global" else select_largest
        amount = snapshot.amount[0] if self.scope == "global" else snapshot.amount
        mask = select(snapshot.weight_keys, amount, snapshot.packing, snapshot.mask)
        pruned = snapshot.nonzeros - snapshot.packing.count(mask)
        return mask, pruned, ops.zeros_like(pruned), []

    def finalize_variable_values(self, var_list):
        """Called by `fit` when training ends: warns of a sparsity that is not reached."""
        super().finalize_variable_values(var_list)
        sparse = [_keras.variables_of(self)[i] for i in self._sparse]
        asked = self.sparsity(self.sparsity.end)
        warn_of_missed_target(self, asked, sparse, self._why_not())

    def _why_not(self):
        steps, end = int(ops.convert_to_numpy(self.iterations)), self.sparsity.end
        if steps <= end:
            return why_too_short(end, steps)
        if self._every is None:
            return "With update_every=None masks change by `update_masks()` only: call it."
        return (
            f"Masks change every {self._every} steps, and training had {steps}, of which the "
            f"schedule takes {end}. Lower `update_every`, or train longer."
        )

    def get_config(self):
        sparsity = keras.saving.serialize_keras_object(self.sparsity)
        return {**super().get_config(), "sparsity": sparsity, "scope": self.scope}


def _largest(x, count):
    """The mask of the `count` largest entries; among equal entries the first ones."""
    mask = np.zeros(x.shape, bool)
    mask.flat[np.argsort(-x.ravel(), kind="stable")[:count]] = True
    return mask
