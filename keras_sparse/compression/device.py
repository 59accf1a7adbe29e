"""A removal of channels that meets the budget by measured costs, not only by predicted ones."""

import dataclasses
import warnings

import numpy as np

from keras_sparse.compression.allocation import BudgetError
from keras_sparse.compression.budget import Budget, in_words
from keras_sparse.compression.planning import Plan, Planner, removable_groups

_TRIES = 3
# If a measured latency is above this factor of the predicted one, it is measured so many times.
_NEAR, _MEASUREMENTS = 1.1, 3


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """A model without the channels of a plan.

    Args:
        plan: the `Plan`.
        model: the compact `keras.Model`.
        report: the `surgery.Report` of the removal.
        seconds: `{cost: (before, after)}` as measured: latencies, and bytes of files and of a
            microcontroller.
    """

    plan: Plan
    model: object
    report: object
    seconds: dict


def fit_to_device(
    model, data, kept, *, target, measure=True, latency=None, meters=(), exclude=(), **arguments
):
    """Plan, cut and measure; where a measured cost is above its limit, plan for less.

    Args:
        model, data, latency, exclude, arguments: see `plan`.
        kept: a `PlanFolder`; a plan that it has is taken as it is.
        meters: objects with a method `costs` that measures a model, `{cost: bytes}`: `micro` and
            `files` of `compress`.
        target: see `plan`; or a function of `{cost: what the model costs}` that returns a `Budget`.
        measure: bool; False to trust what is predicted.

    Returns:
        A `Cut`.
    """
    groups = removable_groups(model, exclude)
    found = kept.plan(groups)
    if found is None:
        planner = Planner(model, data, groups, kept, latency=latency, **arguments)
        for meter in meters:
            planner.calibrate(meter.costs(model))
        devices = (_timing(latency or {}), meters) if measure else ({}, ())
        cut = _measured_cut(model, planner, planner.budget(target), *devices)
        kept.save_plan(cut.plan, cut.seconds)
    else:
        plan, seconds = found
        cut = Cut(plan, *plan.apply(model), seconds)
    for name, (_, after) in cut.seconds.items():
        limit = cut.plan.asked.get(name)
        if limit is not None and after > limit:
            warnings.warn(
                f"The compact model's {name} is {in_words(name, after)}, {after / limit - 1:.1%} "
                f"above the {in_words(name, limit)} that were requested, after up to {_TRIES} "
                "plans.",
                stacklevel=5,
            )
    return cut


def _measured_cut(model, planner, asked, latency, meters):
    """The cut that meets the limits requested, or the last that was tried."""
    budget, plan = asked, planner.plan(asked)
    for tries in range(1, _TRIES + 1):
        compact, report = plan.apply(model)
        seconds = _measured(latency, meters, model, compact, plan)
        factors = {n: s / asked.limits[n] for n, s in seconds.items() if n in asked.limits}
        missed = {name: factor for name, factor in factors.items() if factor > 1}
        if not missed or tries == _TRIES:
            break
        # Below what this plan was predicted to cost, or the same plan might come again.
        limits = {n: min(budget.limits[n], plan.costs[n][1]) / f for n, f in missed.items()}
        budget = Budget({**budget.limits, **limits})
        try:
            plan = planner.plan(budget, asked)
        except BudgetError:
            break
    return Cut(plan, compact, report, {n: (plan.costs[n][0], s) for n, s in seconds.items()})


def _measured(latency, meters, model, compact, plan):
    """`{cost: number}` of a compact model, measured."""
    bytes_of = {name: size for meter in meters for name, size in meter.costs(compact).items()}
    return {name: size for name, size in bytes_of.items() if name in plan.costs} | {
        name: _seconds(table, model, compact, plan.costs[name]) for name, table in latency.items()
    }


def _timing(latency):
    """The tables that can time whole models; a warning for those of another device."""
    tables = {name: own for name, own in latency.items() if hasattr(own, "models_seconds")}
    unable = [name for name, own in tables.items() if not getattr(own, "can_time", True)]
    if unable:
        warnings.warn(
            f"{' and '.join(unable)} of the compact model is predicted, not measured: the table "
            "is of another device. Give `time`, which runs files there, to "
            "`LatencyTable.measure` or `load`.",
            stacklevel=6,
        )
    return {name: own for name, own in tables.items() if name not in unable}


def _seconds(table, model, compact, costs):
    """The latency of a compact model: its share of the given one's, measured alternately.

    The median of three measurements, if the first is not near what the table predicts.
    """
    before, predicted = costs
    found = []
    for _ in range(_MEASUREMENTS):
        whole, own = table.models_seconds([model, compact])
        found.append(before * own / whole)
        if len(found) == 1 and found[0] <= _NEAR * predicted:
            break
    return float(np.median(found))
