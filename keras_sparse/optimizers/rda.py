"""Regularized dual averaging: one name for its variants."""

from typing import Any, Literal

import keras

from keras_sparse import _renamed
from keras_sparse._types import Exclude, Groups, LearningRate
from keras_sparse.optimizers.accumulated_rda import AccumulatedRDA
from keras_sparse.optimizers.dpf import DPF
from keras_sparse.optimizers.published_rda import PublishedRDA, PublishedRDAToTarget
from keras_sparse.validation import check_number

_RAMP_STEPS = 1000


class RDA:
    """Dual averaging: makes an optimizer of the class that the arguments choose.

    - By default, and with a `target_sparsity`: dynamic pruning with feedback, `DPF`. The largest
      accumulated weights are kept, and none is shrunk.
    - With an `l1`: `AccumulatedRDA`. Gradients add up from the initial weights and are
      soft-thresholded.
    - With `variant="published"` and an `l1`: `PublishedRDA`, Algorithm 1 of the paper.
    - With `variant="published"` and no `l1`: `PublishedRDAToTarget`, which finds λ for a
      `target_sparsity`.

    So `RDA()` is not l1 dual averaging. It is the default because it trains networks with and
    without batch normalisation and needs no λ. Algorithm 1 needs normalisation, and a λ of the
    right order of magnitude.

    Args:
        learning_rate: float or schedule; 1/γ in the paper. Defaults to 0.1, which also trains
            networks without batch normalisation. With batch normalisation 1.0 learns faster,
            because there is no momentum.
        l1: float or schedule, λ in units of the loss per weight. Defaults to None: there is a
            target instead.
        target_sparsity: float in [0, 1), the share of prunable weights to become zero. Defaults
            to 0.9 where no `l1` is given; by channel there is no default.
        ramp_steps: int, the steps over which the sparsity rises to a `target_sparsity`. Defaults to
            1000.
        rho: float, the part of λ that falls as 1/√t. Defaults to 0.0.
        variant: `"accumulated"` or `"published"`. Defaults to `"accumulated"`.
        center: `"initial"` or `"zero"`, for biases and normalisation in the published variant.
        groups: `"weight"` or `"channel"`: the weights that become zero together; see
            `AccumulatedRDA`.
        exclude: variables to keep dense besides biases and normalisation; see `AccumulatedRDA`.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`. `weight_decay` and
            `use_ema` are refused.

    Returns:
        An optimizer of one of these classes.

    Raises:
        ValueError: an argument out of its range; both `l1` and `target_sparsity`, or neither by
            channel; a target by channel in the published variant; `weight_decay` or `use_ema`; on
            `build`, a target for no weight at all, or an `exclude` that matches nothing.

    Example:

    >>> model.compile(optimizer=RDA(), loss="sparse_categorical_crossentropy")
    >>> model.compile(optimizer=RDA(target_sparsity=0.5, groups="channel"), loss="mse")
    >>> model.compile(optimizer=RDA(1.0, l1=2e-4, variant="published"), loss="mse")

    Reference:
        Lin et al., Dynamic model pruning with feedback, ICLR 2020, arXiv 2006.07253;
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, Algorithm 1;
        Xiao, Dual averaging methods for regularized stochastic learning and online optimization,
        JMLR 2010.
    """

    @_renamed.arguments(form="variant")
    def __new__(
        cls,
        learning_rate: LearningRate = 0.1,
        l1: LearningRate | None = None,
        target_sparsity: float | None = None,
        ramp_steps: int = _RAMP_STEPS,
        rho: float = 0.0,
        variant: Literal["accumulated", "published"] = "accumulated",
        center: Literal["initial", "zero"] = "initial",
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> Any:
        """Make an optimizer of the class that the arguments choose."""
        _check_choices(variant, center, l1, target_sparsity, ramp_steps, rho)
        kwargs.update(learning_rate=learning_rate, groups=groups, exclude=exclude)
        if variant == "published":
            kwargs["center"] = center
        if l1 is not None:
            kind = PublishedRDA if variant == "published" else AccumulatedRDA
            return kind(l1=l1, rho=rho, **kwargs)
        if variant == "published":
            target_sparsity = 0.9 if target_sparsity is None else target_sparsity
            kind = PublishedRDAToTarget
        else:
            kind = DPF
        return kind(target_sparsity=target_sparsity, ramp_steps=ramp_steps, **kwargs)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Make the optimizer from a config, also from one of an earlier version.

        In earlier versions all variants were one class, with other argument names.
        """
        config = {"l1": None, "target_sparsity": None, **config}
        form = config.pop("form", "accumulated")
        published = config.pop("variant", form) == "published"
        has_l1 = config["l1"] is not None
        if config["target_sparsity"] is None:
            config["target_sparsity"] = 0.9
        unused = ["target_sparsity", "ramp_steps"] if has_l1 else ["l1", "rho"]
        for name in unused if published else [*unused, "center"]:
            config.pop(name, None)
        if has_l1:
            kind = PublishedRDA if published else AccumulatedRDA
        else:
            kind = PublishedRDAToTarget if published else DPF
        return kind.from_config(config, custom_objects)


# The name in saved files.
keras.saving.get_custom_objects()["keras_sparse>RDA"] = RDA


def _check_choices(variant, center, l1, target_sparsity, ramp_steps, rho):
    if variant not in ("accumulated", "published"):
        raise ValueError(
            f"`variant` must be 'accumulated' or 'published'. Received: variant={variant!r}"
        )
    if center not in ("initial", "zero"):
        raise ValueError(f"`center` must be 'initial' or 'zero'. Received: center={center!r}")
    if center == "zero" and variant != "published":
        raise ValueError(
            "`center='zero'` is for the published variant only: the accumulated variant starts "
            "from the initial weights. Received: center='zero', variant='accumulated'"
        )
    if l1 is not None and target_sparsity is not None:
        raise ValueError(
            "Give `l1` or `target_sparsity`, from which l1 is found, not both. "
            f"Received: l1={l1}, target_sparsity={target_sparsity}"
        )
    if l1 is not None and ramp_steps != _RAMP_STEPS:
        raise ValueError(
            "`ramp_steps` is for a `target_sparsity`: with an `l1` no sparsity rises. Received: "
            f"l1={l1}, ramp_steps={ramp_steps}"
        )
    if check_number("rho", rho, "[0, inf)") and l1 is None:
        raise ValueError(f"`rho` goes with `l1`, not with `target_sparsity`. Received: {rho=}")
