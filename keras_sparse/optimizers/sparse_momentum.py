"""Sparse momentum: weights move to where the momentum is largest."""

from collections.abc import Mapping
from typing import Any, Literal

import keras
from keras import ops

from keras_sparse._types import LearningRate, Share, UpdateEvery
from keras_sparse.masks.allocation import SMALLEST_SHARE, proportional, water_fill
from keras_sparse.masks.packing import Packing
from keras_sparse.masks.selection import (
    magnitude_keys,
    mean_magnitude,
    select_globally,
    select_largest,
)
from keras_sparse.optimizers.prune_and_regrow import PruneAndRegrow, share_of
from keras_sparse.optimizers.set import keep_by_sign

REDISTRIBUTIONS = ("momentum", "magnitude", "nonzero", "none")
GROWTHS = ("momentum", "momentum_by_channel", "random", "gradient")
PRUNES = ("magnitude", "set", "global_magnitude")


@keras.saving.register_keras_serializable(package="keras_sparse")
class SparseMomentum(PruneAndRegrow):
    """Sparse momentum: sparse from the first step; only the momentum is dense.

    Each update, with prune rate `p`:

    1. share of each layer: the mean |momentum| of its weights, divided by the sum over all layers;
    2. prune the `ceil(p * n)` smallest of a layer's `n` weights; a layer that would grow loses at
       most the share of its weights that is missing;
    3. redistribute all pruned weights in proportion to the shares. If a layer has too few free
       places, the other layers get the rest in equal parts. The total stays exactly the same;
    4. grow weights at the places with the largest |momentum|; of equal ones the first by index.

    With Adam or a variant of it inside, weights are scored by `m / (sqrt(v) + 1e-8)`.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        prune_rate: float in [0, 1], a schedule over the steps, or None. The paper anneals it over
            the whole training: `CosineSchedule(0.5, 0.0, end=steps)`. Defaults to None,
            `InverseTimeSchedule(0.5)`, which does not depend on the length of the training.
        update_every: int, `"epoch"` (with `steps_per_epoch`), or None for `update_masks()` only.
            The paper updates once an epoch. Defaults to 100.
        steps_per_epoch: int, the number of batches of an epoch.
        redistribution: the measure by which layers share the pruned weights: `"momentum"`,
            `"magnitude"` (mean |weight|), `"nonzero"` (number of weights) or `"none"` (each layer
            regrows what it lost).
        growth: `"momentum"`, `"momentum_by_channel"` (shared among the output channels of a layer
            by their mean |momentum| first), `"random"` or `"gradient"`.
        prune: `"magnitude"` by layer, `"set"` (the smallest positive and the smallest negative
            ones), or `"global_magnitude"` over all layers.
        distribution: of the first masks. Defaults to `"uniform"`.
        momentum: float in (0, 1), for an inner optimizer by name. Defaults to None: 0.9.
        **kwargs: the other arguments of `MaskedOptimizer`: `nesterov`, `inner`, `exclude`, `seed`,
            and those of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: an argument out of its range; on `build`, a budget that leaves a layer empty.

    Example:

    >>> steps = 100 * len(dataset)
    >>> optimizer = SparseMomentum(
    ...     0.1, density=0.05, prune_rate=CosineSchedule(0.5, 0.0, end=steps),
    ...     update_every="epoch", steps_per_epoch=len(dataset),
    ... )
    >>> model.compile(optimizer, "sparse_categorical_crossentropy")
    >>> model.fit(dataset, epochs=100)

    Reference:
        [Dettmers and Zettlemoyer, 2019](https://arxiv.org/abs/1907.04840). Unlike the authors'
        code, which keeps the budget on average, every count is exact.
    """

    dense_momentum = True
    _first_rate = 0.5

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        density: float = 0.1,
        prune_rate: Share | None = None,
        update_every: UpdateEvery = 100,
        steps_per_epoch: int | None = None,
        redistribution: Literal["momentum", "magnitude", "nonzero", "none"] = "momentum",
        growth: Literal["momentum", "momentum_by_channel", "random", "gradient"] = "momentum",
        prune: Literal["magnitude", "set", "global_magnitude"] = "magnitude",
        distribution: str | Mapping[str, float] = "uniform",
        momentum: float | None = None,
        **kwargs: Any,
    ) -> None:
        _check_mode("redistribution", redistribution, REDISTRIBUTIONS)
        _check_mode("growth", growth, GROWTHS)
        _check_mode("prune", prune, PRUNES)
        super().__init__(
            learning_rate=learning_rate,
            density=density,
            prune_rate=prune_rate,
            update_every=update_every,
            steps_per_epoch=steps_per_epoch,
            distribution=distribution,
            momentum=momentum,
            **kwargs,
        )
        if momentum == 0:
            raise ValueError("SparseMomentum needs a momentum above 0. Received: momentum=0")
        self.redistribution = redistribution
        self.growth = growth
        self.prune = prune

    def _add_state(self, sparse):
        super()._add_state(sparse)
        momentum = self._inner.named("momentum")
        if not momentum or any(momentum[i] is None for i in self._sparse):
            raise ValueError(
                "SparseMomentum scores weights by their momentum, and "
                f"{type(self._inner.optimizer).__name__} has none. Received: inner={self.inner!r}"
            )

    def _scored_slots(self):
        # Second moments; Adam and its variants divide by their square roots.
        velocity = []
        if hasattr(self._inner.optimizer, "beta_2"):
            velocity = self._inner.named("velocity")
        return [slots for slots in (self._inner.named("momentum"), velocity) if slots]

    @property
    def needs_gradients(self):
        """Whether an update reads the gradients."""
        return self.growth == "gradient"

    def _prune_counts(self, snapshot):
        nonzeros = snapshot.nonzeros
        if self.prune == "global_magnitude":
            counts = self._global_prune_counts(snapshot)
        else:
            counts = share_of(snapshot.amount, nonzeros)
        if self.redistribution == "none":
            return counts
        missing = ops.cast(snapshot.sizes - nonzeros, "float32")
        sparsity = missing / ops.cast(snapshot.sizes, "float32")
        growing = self._by_share(snapshot, counts) > counts
        return ops.where(growing, ops.minimum(counts, share_of(sparsity, nonzeros)), counts)

    def _global_prune_counts(self, snapshot):
        total = ops.sum(snapshot.nonzeros)
        # Each layer keeps at least one weight, so at least one weight per layer must be left.
        keep = ops.maximum(total - share_of(snapshot.amount, total), snapshot.packing.num_groups)
        kept = select_globally(snapshot.weight_keys, keep, snapshot.packing, snapshot.mask)
        return snapshot.nonzeros - snapshot.packing.count(kept)

    def _keep(self, snapshot, counts):
        if self.prune == "set":
            return keep_by_sign(snapshot, counts)
        return super()._keep(snapshot, counts)

    def _by_share(self, snapshot, pruned):
        """How many weights each layer would get, ignoring its free places."""
        if self.redistribution == "nonzero":
            shares = ops.cast(snapshot.nonzeros, "float32")
        elif self.redistribution == "magnitude":
            shares = snapshot.mean_weights
        else:
            shares = snapshot.mean_momentum
        # All shares are 0 before there is any momentum: each layer then regrows what it lost.
        return ops.where(
            ops.any(shares >= SMALLEST_SHARE), proportional(ops.sum(pruned), shares), pruned
        )

    def _regrow_counts(self, snapshot, pruned, free):
        if self.redistribution == "none":
            return pruned
        return water_fill(self._by_share(snapshot, pruned), free)

    def _grow(self, snapshot, keep, counts):
        if self.growth == "random":
            return super()._grow(snapshot, keep, counts)
        if self.growth == "momentum_by_channel":
            return _grow_by_channel(snapshot, keep, counts)
        scores = snapshot.momentum if self.growth == "momentum" else snapshot.gradients
        missing = snapshot.missing(keep)
        return select_largest(magnitude_keys(scores), counts, snapshot.packing, missing)

    def get_config(self):
        modes = {name: getattr(self, name) for name in ("redistribution", "growth", "prune")}
        return {**super().get_config(), **modes}


def _grow_by_channel(snapshot, keep, counts):
    """The largest momentum of each output channel, in proportion to its mean momentum."""
    layers = snapshot.packing
    channels = Packing(layers.shapes, by_channel=True, width=64)
    missing = channels.pack(layers.unpack(snapshot.missing(keep)), False)
    momentum = channels.pack(snapshot.momentum_by_layer)
    shares = mean_magnitude(momentum, channels.valid(), channels)
    free = channels.count(missing)
    channel_counts, start = [], 0
    for layer, shape in enumerate(layers.shapes):
        own = slice(start, start + shape[-1])
        channel_counts.append(water_fill(proportional(counts[layer], shares[own]), free[own]))
        start += shape[-1]
    grown = select_largest(
        magnitude_keys(momentum), ops.concatenate(channel_counts), channels, missing
    )
    return layers.pack(channels.unpack(grown), False)


def _check_mode(name, mode, modes):
    if mode not in modes:
        raise ValueError(f"`{name}` must be one of {modes}. Received: {name}={mode!r}")
