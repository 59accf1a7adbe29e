"""Plans which channels to remove so that a budget is met."""

import contextlib
import dataclasses
import functools
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_sparse import surgery
from keras_sparse._types import Layers
from keras_sparse.compression.allocation import (
    BudgetError,
    allocate,
    candidates,
    check_narrowest,
    uniform,
)
from keras_sparse.compression.budget import Budget, in_words, missed_limits, warn_if_met
from keras_sparse.compression.checks import check_data
from keras_sparse.compression.cost import CostModel, check_latency
from keras_sparse.compression.data import FirstKept
from keras_sparse.compression.excluding import excluded_names
from keras_sparse.compression.importance import Taylor, as_importance, checked_scores
from keras_sparse.compression.memory import Memory
from keras_sparse.compression.reports import renamed, what_stays
from keras_sparse.compression.trial import TRIAL_BATCHES, Trial
from keras_sparse.surgery.functional import check_model, functional, warn_of_training
from keras_sparse.surgery.graph import Graph
from keras_sparse.surgery.group_zeroing import zeroed_and_sources
from keras_sparse.surgery.macs import graph_macs

# Seconds after which a long stage says how much is left.
_SILENCE = 10
# Number of reasons in a message.
_SHOWN = 3
_ALLOCATIONS = ("importance", "uniform", "uniform_steps")


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The channels to remove, and the costs of the model before and after.

    Print it for a table. `apply` removes the channels.

    Args:
        groups: tuple of the `surgery.ChannelGroup`s from which channels may be removed.
        widths: int array, number of channels that each group keeps.
        scores: dict `{group: float array (channels,)}`, the importance.
        budget: the `Budget` of the plan.
        costs: dict `{cost: (before, predicted after)}`, for all costs that can be predicted.
        asked: dict `{cost: limit}`, the user's limits as absolute numbers. They differ from those
            of `budget` if a measured cost exceeded its limit and a smaller model was planned.
        peak: empty, unless the arena is limited. Then a dict from `"before"` and `"after"` to
            `(layer, tensors)`: the layer that needs the most bytes of activations, and a list of
            these, largest first, each as `(layer that computed it, bytes, names of the groups of
            its channels)`.
        fixed: dict `{group: reason}` of the other groups: why none of their channels can be
            removed. Outputs of the model and excluded layers are not listed.
    """

    groups: tuple
    widths: np.ndarray
    scores: dict
    budget: Budget
    costs: dict
    asked: dict
    peak: dict = dataclasses.field(default_factory=dict)
    fixed: dict = dataclasses.field(default_factory=dict)

    @property
    def removed(self):
        """`{group: bool array (channels,)}`: True for removed channels (lowest scores)."""
        return removed_channels(self.groups, self.widths, self.scores)

    def apply(self, model: keras.Model) -> tuple[keras.Model, surgery.Report]:
        """Removes the channels. The compact model is not trained further.

        Args:
            model: the model that the plan was made for; it is not changed.

        Returns:
            `(compact, report)`: a new `keras.Model`, not compiled, and the `surgery.Report` of the
            removal. Fine-tune the model, because its outputs have changed.

        Example:

        >>> compact, report = plan.apply(model)
        >>> compact.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
        >>> compact.fit(x_train, y_train, epochs=12)
        """
        compact, report = remove_channels(model, self)
        for missed in missed_limits(self.asked, measured_costs(compact), report):
            warnings.warn(
                f"{missed} Give `plan` a lower limit, or use `compress`, which plans again.",
                stacklevel=2,
            )
        return compact, report

    def to_dict(self):
        """The plan as JSON-serializable values."""
        return {
            "limits": {name: float(limit) for name, limit in self.budget.limits.items()},
            "costs": {name: [float(a), float(b)] for name, (a, b) in self.costs.items()},
            "peak": {
                stage: [layer, *map(list, tensors)] for stage, (layer, tensors) in self.peak.items()
            },
            "groups": {
                group.name: {
                    "layers": list(group.layers),
                    "channels": [group.size, int(width)],
                    "removed": np.flatnonzero(self.removed[group]).tolist(),
                }
                for group, width in zip(self.groups, self.widths, strict=True)
            },
            "fixed": self.fixed,
        }

    def __str__(self):
        rows = [
            (group.name, f"{group.size} → {width}", ", ".join(group.layers))
            for group, width in zip(self.groups, self.widths, strict=True)
        ]
        lines = [
            f"{name:<28} {change:>12}" + (f"  {layers}" if layers != name else "")
            for name, change, layers in rows
        ]
        lines += [f"{name:<28} {'all stay':>12}  {why}" for name, why in self.fixed.items()]
        for name, (before, after) in self.costs.items():
            change = f"{in_words(name, before)} → {in_words(name, after)}"
            limit = self.asked.get(name)
            allowed = "" if limit is None else f", limit {in_words(name, limit)}"
            lines.append(f"{name}: {change} ({after / before:.3f}){allowed}")
        for stage, (layer, tensors) in self.peak.items():
            parts = (
                f"{name} {size:,}" + (f" (channels of {', '.join(groups)})" if groups else "")
                for name, size, groups in tensors
            )
            total = sum(size for _, size, _ in tensors)
            lines.append(f"peak {stage}: {total:,} bytes at {layer}: {'; '.join(parts)}")
        return "\n".join(lines)


def plan(
    model: keras.Model,
    data: Any = None,
    *,
    target: Mapping[str, float | str],
    importance: Any = None,
    allocation: str = "importance",
    latency: Mapping[str, Any] | None = None,
    exclude: Layers = (),
) -> Plan:
    """Chooses which channels of a trained model to remove so that it meets a budget.

    Args:
        model: a built `keras.Model`; it is not changed. For the default importance, it must be
            compiled with the loss of its training.
        data: training data for the importance: arrays `(x, y)` or `(x, y, sample_weight)`, a
            `tf.data.Dataset`, a `keras.utils.PyDataset` or another iterable of batches.
        target: dict `{cost: limit}`. All limits must hold. The costs are `"parameters"`, `"macs"`
            (multiply-accumulates), `"float32_bytes"` and `"int8_bytes"` (size of the TFLite file,
            predicted), `"memory"` (peak bytes of the activations in float32, for one sample),
            `"arena"` and `"flash"` (RAM and file size in int8 with LiteRT for Microcontrollers),
            and the names in `latency`. A limit up to 1 is a fraction of the model's cost. A limit
            above 1, or a string like `"2 ms"` or `"100 kB"`, is absolute. A latency above 1 needs
            a unit.
        importance: scores the channels: an `Importance`, or a criterion of
            `keras_sparse.channels`. Defaults to `Taylor()`.
        allocation: how to choose the number of channels that each group keeps. `"importance"`:
            each step narrows the group that loses the least importance for the cost that it saves.
            This is done in about ten ways, and the result with the lowest loss on training data
            right after the cut is used. `"uniform"`: the same fraction in all groups.
            `"uniform_steps"`: as `"uniform"`, rounded up to widths at which the measured latency
            falls; needs `latency`.
        latency: dict `{"latency": table}` or `{"int8_latency": table}` of `export.LatencyTable`s.
        exclude: layers that keep all of their channels: names, or built layers of `model`; one of
            them or a list.

    Returns:
        A `Plan`.

    Raises:
        ValueError: an argument has the wrong type; the data do not fit the model; a latency table
            is of another model; `exclude` has a layer that is not in the model; the scores do not
            fit the model's channels; or the model has no channels that can be removed.
        BudgetError: the budget cannot be met. The message says what can be reached.

    Example:

    >>> plan = keras_sparse.plan(model, (x_train, y_train), target={"macs": 0.5})
    >>> print(plan)
    >>> compact, report = plan.apply(model)
    """
    check_model(model)
    check_latency(latency, model)
    check_allocation(allocation)
    if data is not None:
        check_data("data", data, model)
    groups, fixed = removable_and_fixed(model, exclude)
    planner = Planner(
        model,
        data,
        groups,
        fixed=fixed,
        importance=importance,
        allocation=allocation,
        latency=latency,
    )
    return planner.plan(planner.budget(target))


class Planner:
    """Makes plans for one model.

    Args:
        model, data, importance, allocation, latency: see `plan`.
        groups: list of the `surgery.ChannelGroup`s from which channels may be removed.
        kept: a `PlanFolder` for the scores, or None.
        fixed: see `Plan`; None if it is not to be told.
        timed: see `CostModel`.
        say: function that is called with a sentence before each stage that takes long.
    """

    def __init__(
        self,
        model,
        data,
        groups,
        kept=None,
        *,
        fixed=None,
        importance,
        allocation,
        latency,
        timed=True,
        say=lambda sentence: None,
    ):
        importance = as_importance(Taylor() if importance is None else importance)
        self.say = say
        self._model = model
        # Scores and trials read the first batches, and an iterator gives them once.
        once = isinstance(data, Iterator)
        self._data = FirstKept(data, TRIAL_BATCHES) if once else data
        self._allocation = allocation
        self._costs = CostModel(model, groups, latency, timed)
        self._steps = _steps(latency, self._costs)
        if allocation == "uniform_steps" and not self._steps:
            raise ValueError(
                "`allocation='uniform_steps'` rounds widths up to those at which the measured "
                "latency falls: give `latency={'latency': table}` with an `export.LatencyTable`."
            )
        self._importance = importance
        self._kept = kept
        self._fixed = fixed or {}
        self._trial = None

    @functools.cached_property
    def _scores(self):
        def compute():
            self.say(f"Scoring the channels by {self._importance!r}")
            scores = self._importance.scores(self._model, self._costs.groups, self._data)
            return checked_scores(scores, self._costs.groups, self._importance)

        return self._kept.scores(self._costs.groups, compute) if self._kept else compute()

    def calibrate(self, measured):
        """Adapts predictions to measured costs of the full model; see `CostModel.calibrate`."""
        self._costs.calibrate(measured)

    def budget(self, target):
        """The `Budget` of a user's `target`, which may also be that of one of several cuts.

        Raises:
            BudgetError: no choice of channels meets it; raised before scores are computed.
        """
        full = self._costs.full()
        names = self._costs.names_with(getattr(target, "target", target))
        costs = {name: self._costs.total(name, full) for name in names}
        budget = target(costs) if callable(target) else Budget.of(target, costs)
        if not callable(target):
            warn_if_met(budget, costs)
        with self._telling_what_stays():
            check_narrowest(self._costs, target.last(costs) if callable(target) else budget)
        return budget

    @contextlib.contextmanager
    def _telling_what_stays(self):
        """Adds to a `BudgetError` which groups cannot be cut."""
        try:
            yield
        except BudgetError as error:
            if not self._fixed:
                raise
            stay = what_stays(self._fixed)
            more = [f"Others stay for {len(stay) - _SHOWN} other reasons."] * (len(stay) > _SHOWN)
            raise BudgetError(" ".join([str(error), *stay[:_SHOWN], *more])) from error

    def plan(self, budget, asked=None):
        """The `Plan` for a budget; `asked` is the user's budget, if it differs."""
        with self._telling_what_stays():
            widths = self._widths(budget)
        limits = (asked or budget).limits
        full, totals = self._costs.full(), self._costs.total
        names = self._costs.names_with(limits)
        costs = {name: (totals(name, full), totals(name, widths)) for name in names}
        peak = {}
        if "arena" in limits:
            peak = {"before": self._costs.peak(full), "after": self._costs.peak(widths)}
        return Plan(
            groups=tuple(self._costs.groups),
            widths=widths,
            scores=self._scores,
            budget=budget,
            costs=costs,
            asked=limits,
            peak=peak,
            fixed=self._fixed,
        )

    def _widths(self, budget):
        """The widths with the lowest loss right after the cut; without data, by scores only."""
        if self._allocation == "uniform":
            return uniform(self._costs, budget)
        if self._allocation == "uniform_steps":
            return uniform(self._costs, budget, self._steps)
        if self._data is None or not getattr(self._model, "compiled", False):
            return allocate(self._costs, self._scores, budget, steps=self._steps)
        choices = candidates(self._costs, self._scores, budget, steps=self._steps)
        self._trial = self._trial or Trial(self._model, self._data)
        self.say(f"Choices of widths to compare on training data: {len(choices)}")
        losses = list(self._losses(choices))
        return choices[int(np.argmin(np.nan_to_num(losses, nan=np.inf)))]

    def _losses(self, choices):
        """The loss of each choice; says now and then how many are done."""
        told = time.monotonic()
        for done, widths in enumerate(choices, 1):
            yield self._trial.loss(removed_channels(self._costs.groups, widths, self._scores))
            if time.monotonic() - told > _SILENCE and done < len(choices):
                told = time.monotonic()
                self.say(f"Choices compared: {done} of {len(choices)}")


def check_allocation(allocation):
    """Raises a `ValueError` for an unknown allocation."""
    if allocation not in _ALLOCATIONS:
        raise ValueError(f"`allocation` must be one of {_ALLOCATIONS}. Received: {allocation!r}")


def removed_channels(groups, widths, scores):
    """`{group: bool array (channels,)}`: True for removed channels (lowest scores)."""
    masks = {}
    for group, width in zip(groups, widths, strict=True):
        order = np.argsort(scores[group], kind="stable")
        masks[group] = np.zeros(group.size, bool)
        masks[group][order[: group.size - width]] = True
    return masks


def remove_channels(model, plan):
    """`(compact, report)` of a `Plan`, without a look at its limits."""
    warn_of_training(model, functional(model))
    zeroed, sources, names = zeroed_and_sources(model, plan.removed)
    compact, report = surgery.remove_dead_channels(zeroed)
    # Nested models were inlined, so layers and variables of `zeroed` have other names and paths
    # than those of the model.
    report = renamed(report, names)
    report.slices = {
        path: dataclasses.replace(part, source=sources.get(part.source))
        for path, part in report.slices.items()
    }
    report.trained = tuple(sources[path] for path in report.trained if path in sources)
    return compact, report


def removable_groups(model, exclude=()):
    """The groups of a model with channels that can be removed; see `removable_and_fixed`."""
    return removable_and_fixed(model, exclude)[0]


def removable_and_fixed(model, exclude=()):
    """The groups of a model with channels that can be removed, and why others have none.

    Returns:
        `(groups, fixed)`: a list of `surgery.ChannelGroup`, and `Plan.fixed`.

    Raises:
        ValueError: there are no such groups, or `exclude` names a layer that the model lacks.
    """
    groups = surgery.channel_groups(model)
    known = {layer for group in groups for layer in group.layers}
    exclude = excluded_names(exclude, model)
    unknown = [name for name in exclude if name not in known]
    if unknown:
        raise ValueError(
            f"`exclude` names {unknown}, which are no layers with channels. The model has "
            f"{sorted(known)}."
        )
    free = [
        group
        for group in groups
        if not group.fixed and group.size > 1 and not set(group.layers) & set(exclude)
    ]
    if not free:
        reasons = {f"{group.name}: {group.fixed or 'excluded'}" for group in groups}
        raise ValueError(
            "The model has no channels that can be removed. " + "; ".join(sorted(reasons))
        )
    fixed = {
        group.name: group.fixed
        for group in groups
        if group.fixed not in (None, "output of the model")
    }
    return free, fixed


def measured_costs(model):
    """The costs of a model that can be counted exactly."""
    graph = Graph(model)
    return {
        "parameters": model.count_params(),
        "macs": sum(graph_macs(graph).values()),
        "memory": Memory(graph, []).peak([]),
    }


def _steps(latency, costs):
    """`{group: widths}` at which the measured latency falls; None without a table."""
    tables = [table for table in (latency or {}).values() if hasattr(table, "steps")]
    if not tables:
        return None
    steps = {}
    for group in costs.groups:
        found = [table.steps(layer) for table in tables for layer in group.layers]
        steps[group] = sorted(
            {width for widths in found for width in widths if width <= group.size}
        )
    return {group: widths for group, widths in steps.items() if widths} or None
