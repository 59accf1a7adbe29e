"""Removes channels so that counted and measured costs meet the budget, not only predicted ones."""

import dataclasses
import functools
import warnings

import numpy as np

from keras_sparse.compression.allocation import BudgetError
from keras_sparse.compression.budget import Budget, missed_limits
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.planning import (
    Plan,
    Planner,
    measured_costs,
    removable_and_fixed,
    remove_channels,
)

_TRIES = 3
# If a measured latency exceeds the predicted one by this factor, it is measured this many times.
_NEAR, _MEASUREMENTS = 1.1, 3


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """A model without the channels of a plan.

    Args:
        plan: the `Plan`.
        model: the compact `keras.Model`.
        report: the `surgery.Report` of the removal.
        seconds: `{cost: (before, after)}`, the measured costs: latencies, and bytes of files and of
            a microcontroller.
    """

    plan: Plan
    model: object
    report: object
    seconds: dict

    @functools.cached_property
    def counted(self):
        """`{cost: number}`, the costs of the compact model that can be counted exactly."""
        return measured_costs(self.model)


def fit_to_device(
    model,
    data,
    kept,
    *,
    timed,
    target,
    measure=True,
    latency=None,
    meters=(),
    exclude=(),
    **arguments,
):
    """Plans, cuts, counts and measures; if a cost then exceeds its limit, plans for less.

    Args:
        model, data, latency, exclude, arguments: see `plan`.
        kept: a `PlanFolder`; if it has a plan, this plan is used.
        timed: the model that the tables of `latency` were measured on: `model`, or the one that
            `model` was cut from.
        meters: objects with a method `costs` that measures a model and returns `{cost: bytes}`:
            `micro` and `files` of `compress`.
        target: see `plan`; or a function from `{cost: the model's cost}` to a `Budget`.
        measure: bool; False to rely on predictions, and to plan once.

    Returns:
        A `Cut`.
    """
    groups, fixed = removable_and_fixed(model, exclude)
    found = kept.plan(groups, fixed)
    if found is None:
        planner = Planner(
            model,
            data,
            groups,
            kept,
            fixed=fixed,
            latency=latency,
            timed=model is timed,
            **arguments,
        )
        for meter in meters:
            planner.calibrate(meter.costs(model))
        devices = (_timing(latency or {}), meters, _TRIES) if measure else ({}, (), 1)
        cut = _measured_cut(model, timed, planner, planner.budget(target), *devices)
        kept.save_plan(cut.plan, cut.seconds)
    else:
        plan, seconds = found
        cut = Cut(plan, *remove_channels(model, plan), seconds)
    costs = {name: after for name, (_, after) in cut.seconds.items()} | cut.counted
    for missed in missed_limits(cut.plan.asked, costs, cut.report) if measure else ():
        warnings.warn(f"{missed} Up to {_TRIES} plans were tried.", stacklevel=5)
    return cut


def _measured_cut(model, timed, planner, asked, latency, meters, most):
    """The first cut that meets the requested limits, or the last one tried of at most `most`."""
    budget, plan = asked, planner.plan(asked)
    for tries in range(1, most + 1):
        compact, report = remove_channels(model, plan)
        if latency or meters:
            planner.say("Measuring the compact model")
        seconds = _measured(latency, meters, timed, compact, plan)
        before_and_after = {name: (plan.costs[name][0], own) for name, own in seconds.items()}
        cut = Cut(plan, compact, report, before_and_after)
        costs = seconds | cut.counted
        factors = {n: cost / asked.limits[n] for n, cost in costs.items() if n in asked.limits}
        missed = {name: factor for name, factor in factors.items() if factor > 1}
        if not missed or tries == most:
            break
        # Limits below the predicted costs of this plan, to get another plan.
        limits = {n: min(budget.limits[n], plan.costs[n][1]) / f for n, f in missed.items()}
        budget = Budget({**budget.limits, **limits})
        try:
            plan = planner.plan(budget, asked)
        except BudgetError:
            break
    return cut


def _measured(latency, meters, timed, compact, plan):
    """`{cost: number}`, the measured costs of a compact model."""
    bytes_of = {name: size for meter in meters for name, size in meter.costs(compact).items()}
    return {name: size for name, size in bytes_of.items() if name in plan.costs} | {
        name: _seconds(name, table, timed, compact, plan.costs[name][1])
        for name, table in latency.items()
    }


def _timing(latency):
    """The tables that can time whole models; warns about tables of another device."""
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


def _seconds(name, table, timed, compact, predicted):
    """The latency of a compact model, from its ratio to that of the model that the table is of.

    Both models are timed alternately. If the first measurement is not near the prediction of the
    table, the median of three is used.
    """
    before = CostModel(timed, [], {name: table}).total(name, np.zeros(0))
    found = []
    for _ in range(_MEASUREMENTS):
        whole, own = table.models_seconds([timed, compact])
        found.append(before * own / whole)
        if len(found) == 1 and found[0] <= _NEAR * predicted:
            break
    return float(np.median(found))
