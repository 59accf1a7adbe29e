"""Dynamic sparse training: prune some weights, grow as many elsewhere."""

from typing import Any

import keras
from keras import ops

from keras_sparse._types import LearningRate, Share, UpdateEvery
from keras_sparse.masks.schedules import InverseTimeSchedule, as_schedule
from keras_sparse.masks.selection import select_largest
from keras_sparse.optimizers.updates import UpdatesEvery
from keras_sparse.optimizers.with_density import WithDensity


class MovesWeights(UpdatesEvery, WithDensity):
    """Base of the methods that move a constant number of weights through the network.

    An update prunes some weights of each layer, the smallest first, and grows as many. This base
    grows random weights and keeps the number of weights in every layer. A method defines how many
    weights are pruned, and overrides what differs. Grown weights are 0. A weight that is pruned and
    grown in the same update keeps its value.
    """

    def _rewire(self, snapshot):
        pruned = self._prune_counts(snapshot)
        keep = self._keep(snapshot, snapshot.nonzeros - pruned)
        free = snapshot.sizes - snapshot.nonzeros + pruned
        grown = self._regrow_counts(snapshot, pruned, free)
        mask = ops.logical_or(keep, self._grow(snapshot, keep, grown))
        return mask, pruned, grown, self._new_extras(snapshot, pruned)

    def _prune_counts(self, snapshot):
        """How many weights each layer loses: int32 of shape (layers,)."""
        raise NotImplementedError

    def _keep(self, snapshot, counts):
        """Packed bool: the `counts` weights of each layer that stay."""
        return select_largest(snapshot.weight_keys, counts, snapshot.packing, snapshot.mask)

    def _regrow_counts(self, snapshot, pruned, free):
        """How many weights each layer gets: int32 of shape (layers,), with the sum of `pruned`."""
        return pruned

    def _grow(self, snapshot, keep, counts):
        """Packed bool: the `counts` weights of each layer that grow; none of them is in `keep`."""
        missing = snapshot.missing(keep)
        return select_largest(snapshot.random_keys, counts, snapshot.packing, missing)

    def _new_extras(self, snapshot, pruned):
        return snapshot.extras


class PruneAndRegrow(MovesWeights):
    """Base of the methods that prune a share of the weights given by a schedule.

    The last weight of a layer is never pruned.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        prune_rate: float in [0, 1], a schedule of it over the steps, or None: the share of a
            layer's weights that an update prunes. Defaults to None, `InverseTimeSchedule(0.3)`,
            which does not depend on the length of the training.
        update_every: int, the number of steps between updates; `"epoch"`, with `steps_per_epoch`;
            or None, only `update_masks()` changes the masks.
        steps_per_epoch: int, the number of batches of an epoch, for `update_every="epoch"`.
        **kwargs: the arguments of `WithDensity`.
    """

    # The initial value of the default `prune_rate`.
    _first_rate = 0.3

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        density: float = 0.1,
        prune_rate: Share | None = None,
        update_every: UpdateEvery = 100,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> None:
        if prune_rate is None:
            prune_rate = InverseTimeSchedule(self._first_rate)
        schedule = as_schedule("prune_rate", prune_rate)
        super().__init__(
            learning_rate, schedule, update_every, steps_per_epoch, density=density, **kwargs
        )
        self.prune_rate = schedule

    def _prune_counts(self, snapshot):
        return share_of(snapshot.amount, snapshot.nonzeros)

    def get_config(self):
        prune_rate = keras.saving.serialize_keras_object(self.prune_rate)
        return {**super().get_config(), "prune_rate": prune_rate}


def share_of(rate, nonzeros):
    """`ceil(rate * nonzeros)`, at most `nonzeros - 1`: int32 of the shape of `nonzeros`."""
    counts = ops.cast(ops.ceil(rate * ops.cast(nonzeros, "float32")), "int32")
    return ops.minimum(counts, ops.maximum(nonzeros - 1, 0))
