"""Optimizers that keep masks."""

import dataclasses
from typing import ClassVar

from apps.training.methods.dense import SGD
from apps.training.methods.method import Method
from apps.training.methods.proximal import RDA, _Proximal
from apps.training.settings import (
    again,
    choice,
    not_negative,
    part,
    positive,
    require,
    share,
    steps_or_epoch,
)

# Minimum number of mask changes in a short training.
_UPDATES = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Masked(Method):
    momentum: float = again(SGD, "momentum", 0.9)
    nesterov: bool = again(SGD, "nesterov", True)
    inner: str | None = choice(
        ("sgd", "adam"),
        "Trains inside the masks. Default: adam where no --learning_rate is given, else sgd.",
    )
    weight_decay: float | None = again(SGD, "weight_decay", None)
    exclude: str | None = again(_Proximal, "exclude", None)
    group = "masked optimizers"

    def constant_rate(self):
        """The default rate of the inner optimizer."""
        from keras_sparse.optimizers.inner import LEARNING_RATES

        return LEARNING_RATES[self.inside] if self.learning_rate is None else self.learning_rate

    @property
    def inside(self):
        """The name of the inner optimizer."""
        return self.inner or ("adam" if self.learning_rate is None else "sgd")

    def arguments(self, run):
        return {**super().arguments(run), "inner": self.inside, "seed": run.seed}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _WithDensity(_Masked):
    density: float = positive("Share of the weights that are kept.", 0.1, upper_bound=1.0)
    distribution: str = choice(
        ("erk", "uniform"), "How the first masks share it among layers.", "erk"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StaticSparse(_WithDensity):
    """`keras_sparse.StaticSparse`."""

    flag = "static"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SNIP(_Masked):
    """`keras_sparse.SNIP`."""

    flag = "snip"
    density: float = again(_WithDensity, "density", 0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Updating(_Masked):
    update_every: int | str | None = steps_or_epoch(
        "Steps between changes of the masks, or epoch. Default: 1 for deep_r, 20 for "
        "magnitude_pruning, else 100, at most a twentieth of the training."
    )
    update_masks: str = choice(
        ("in_step", "callback"),
        "Inside the compiled step, or by callback before the step, for a faster first one; not for "
        "rigl.",
        "in_step",
    )
    apart = ("learning_rate", "update_every", "update_masks")
    fitted: ClassVar = {"update_every": 100}

    def mask_steps(self, run):
        """Steps between two changes of the masks, or `"epoch"`."""
        if self.update_every is not None:
            return self.update_every
        whole = run.steps_per_execution
        return max(min(self.fitted["update_every"], run.steps // _UPDATES) // whole, 1) * whole

    def arguments(self, run):
        found = super().arguments(run)
        every = self.mask_steps(run)
        if self.update_masks == "callback":
            return found | {"update_every": None}
        if every == "epoch":
            return found | {"update_every": "epoch", "steps_per_epoch": run.steps_per_epoch}
        return found | {"update_every": every}

    def callbacks(self, run):
        """The callback that changes the masks, if the step does not."""
        if self.update_masks != "callback":
            return []
        from keras_sparse.callbacks import MaskUpdate

        every, together = self.mask_steps(run), run.steps_per_execution
        if every != "epoch" and every % together:
            raise ValueError(
                f"--steps_per_execution must be a divisor of --update_every={every}: it is "
                f"{together} of the {run.steps_per_epoch} steps of an epoch."
            )
        return [MaskUpdate(every)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Moving(_Updating, _WithDensity):
    pass


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeepR(_Moving):
    """`keras_sparse.DeepR`."""

    flag = "deep_r"
    learning_rate: float = again(Method, "learning_rate", 0.3)
    momentum: float = again(SGD, "momentum", 0.0)
    l1: float = again(RDA, "l1", 1e-4)
    temperature: float = not_negative("Of the noise.", 1e-10)
    fitted: ClassVar = {"update_every": 1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Regrowing(_Moving):
    prune_rate: float | None = share(
        "Share that a change prunes, at first. Default: it falls with 1/t, from 0.5 for "
        "sparse_momentum, 0.1 for dsr, else 0.3."
    )
    prune_schedule: str | None = choice(
        ("linear", "cosine"), "Of --prune_rate, to 0. Default: it stays."
    )
    prune_until: float | None = share(
        "Share of the training after which masks stay. Default: 0.75 for rigl, 0.5 for "
        "magnitude_pruning, else 1. With --prune_from equal to it all is pruned at once: train, "
        "prune, fine-tune."
    )
    apart = (*_Moving.apart, "prune_rate", "prune_schedule", "prune_until")

    def check(self):
        super().check()
        if self.prune_until is not None and not self.prune_schedule:
            raise ValueError("--prune_until needs --prune_schedule=linear or cosine.")
        if self.prune_schedule and self.prune_rate is None:
            raise ValueError("--prune_schedule needs --prune_rate: from which share to 0.")

    def arguments(self, run):
        found = super().arguments(run)
        if self.prune_schedule is None:
            return found if self.prune_rate is None else found | {"prune_rate": self.prune_rate}
        import keras_sparse

        share_of_steps = self.prune_until
        if share_of_steps is None:
            share_of_steps = getattr(keras_sparse, type(self).__name__).schedule_share
        end = max(1, round(share_of_steps * run.steps))
        cosine = self.prune_schedule == "cosine"
        schedule = keras_sparse.CosineSchedule if cosine else keras_sparse.LinearSchedule
        return found | {"prune_rate": schedule(self.prune_rate, 0.0, end=end)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RigL(_Regrowing):
    """`keras_sparse.RigL`."""

    flag = "rigl"

    def check(self):
        super().check()
        require(self.update_masks == "in_step", "update_masks", "in_step for rigl", self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SET(_Regrowing):
    """`keras_sparse.SET`."""

    flag = "set"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DSR(_Regrowing):
    """`keras_sparse.DSR`."""

    flag = "dsr"
    threshold: float = positive("The first threshold.", 1e-3)
    tolerance: float = part("Within which the threshold stays.", 0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseMomentum(_Regrowing):
    """`keras_sparse.SparseMomentum`."""

    flag = "sparse_momentum"
    distribution: str = again(_WithDensity, "distribution", "uniform")
    redistribution: str = choice(
        ("momentum", "magnitude", "nonzero", "none"),
        "By what layers share the pruned weights.",
        "momentum",
    )
    growth: str = choice(
        ("momentum", "momentum_by_channel", "random", "gradient"),
        "Where weights grow.",
        "momentum",
    )
    prune: str = choice(("magnitude", "set", "global_magnitude"), "Which weights go.", "magnitude")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MagnitudePruning(_Updating):
    """`keras_sparse.MagnitudePruning`."""

    flag = "magnitude_pruning"
    target_sparsity: float | None = again(RDA, "target_sparsity", None)
    prune_from: float = share("Share of the training before the pruning.", 0.0)
    prune_until: float = again(_Regrowing, "prune_until", 0.5)
    scope: str | None = choice(
        ("layer", "erk", "global"),
        "The same sparsity in each layer, a larger one in large layers, or the smallest weights of "
        "all. Default: erk where no --target_sparsity is given, else layer.",
    )
    apart = (*_Updating.apart, "target_sparsity", "prune_from", "prune_until")
    fitted: ClassVar = {"update_every": 20}

    def check(self):
        super().check()
        ordered = self.prune_from <= self.prune_until
        require(ordered, "prune_until", "at least --prune_from", self)

    def arguments(self, run):
        import keras_sparse

        begin, until = (round(x * run.steps) for x in (self.prune_from, self.prune_until))
        target = 0.9 if self.target_sparsity is None else self.target_sparsity
        schedule = keras_sparse.CubicSchedule(0.0, target, begin=begin, end=max(begin + 1, until))
        scope = self.scope or ("erk" if self.target_sparsity is None else "layer")
        return super().arguments(run) | {"sparsity": schedule, "scope": scope}
