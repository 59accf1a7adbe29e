"""Dual averaging and proximal methods."""

import dataclasses
from typing import ClassVar

from apps.training.methods.method import Method
from apps.training.settings import (
    again,
    choice,
    not_negative,
    number,
    part,
    positive,
    require,
    span,
    text,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Proximal(Method):
    groups: str = choice(
        ("weight", "channel"),
        "What becomes zero together; surgery cuts whole channels out.",
        "weight",
    )
    exclude: str | None = text(
        "Kept dense: a regular expression for the path of a weight. A classifier whose channels "
        "can go may lose a class: 'logits/' keeps it."
    )
    fine_tuning_epochs: float = not_negative(
        "The last epochs, in which zeros stay zero (adaptive sparse retraining); below 1 a share "
        "of --epochs.",
        0.0,
    )
    group = "proximal optimizers"
    apart = ("learning_rate", "fine_tuning_epochs")

    def callbacks(self, run):
        """The second phase."""
        from keras_sparse.callbacks import AdaptiveSparseRetraining

        epochs = span(self.fine_tuning_epochs, run.epochs)
        if not epochs:
            return []
        if epochs > run.epochs:
            require(False, "fine_tuning_epochs", "from 0 to --epochs", self)
        return [AdaptiveSparseRetraining(run.epochs - epochs)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RDA(_Proximal):
    """`keras_sparse.RDA`."""

    flag = "rda"
    learning_rate: float = again(Method, "learning_rate", 0.1)
    variant: str = choice(
        ("accumulated", "published"),
        "Algorithm 1 of the paper, or the accumulated variant; see keras_sparse.RDA.",
        "accumulated",
    )
    center: str = choice(("initial", "zero"), "Of biases and normalisation.", "initial")
    l1: float | None = not_negative("λ. A larger one makes a sparser network.")
    target_sparsity: float | None = part(
        "The share of the prunable weights that becomes zero, 0.9 by weight where nothing is given."
    )
    ramp_steps: float | None = positive(
        "Steps to --target_sparsity; below 1 a share of the training. Default: 1000, at most half "
        "of the training."
    )
    rho: float = not_negative("The part of λ that falls with √t.", 0.0)
    fitted: ClassVar = {"ramp_steps": 1000}

    def check(self):
        both = self.l1 is not None and self.target_sparsity is not None
        require(not both, "l1", "omitted with --target_sparsity, from which it is found", self)
        by_channel = self.target_sparsity is not None and self.groups == "channel"
        if by_channel and self.variant == "published":
            raise ValueError(
                "--target_sparsity by channel needs variant='accumulated': give "
                "--variant=accumulated, --groups=weight, or --l1 instead."
            )
        zero = self.center == "zero" and self.variant != "published"
        require(not zero, "center", "initial with --variant=accumulated", self)
        falls = self.rho and self.l1 is None
        require(not falls, "rho", "omitted without --l1", self)
        ramp = self.ramp_steps is not None and self.l1 is not None
        require(not ramp, "ramp_steps", "omitted with --l1, which has no ramp", self)

    def arguments(self, run):
        found = super().arguments(run)
        if self.l1 is None:
            half = max(run.steps // 2, 1)
            steps = self.ramp_steps
            found["ramp_steps"] = (
                min(self.fitted["ramp_steps"], half)
                if steps is None
                else max(span(steps, run.steps), 1)
            )
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class GRDA(_Proximal):
    """`keras_sparse.GRDA`."""

    flag = "grda"
    c: float = not_negative("Strength of the threshold.", 0.04)
    mu: float = number("How fast the threshold grows.", 0.6, above=0.5, upper_bound=1.0)

    def optimizer(self, rate, run):
        """See `Method`; without a given rate or schedule, the rate falls as in the class."""
        unchanged = -1.0  # no schedule has this value
        falls = self.learning_rate is None and rate(unchanged) == unchanged
        return super().optimizer((lambda _: None) if falls else rate, run)

    def constant_rate(self):
        return 0.2 if self.learning_rate is None else self.learning_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProxSGD(_Proximal):
    """`keras_sparse.ProxSGD`."""

    flag = "prox_sgd"
    learning_rate: float = again(Method, "learning_rate", 0.3)
    l1: float = again(RDA, "l1", 3e-3)
