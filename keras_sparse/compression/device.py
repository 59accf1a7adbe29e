"""A cut that meets its budget as it is measured, not only as it is predicted."""

import warnings

from keras_sparse.compression.allocation import BudgetError
from keras_sparse.compression.budget import Budget, in_words
from keras_sparse.compression.planning import Planner

_TRIES = 3


def fit_to_device(model, data, *, target, latency=None, **arguments):
    """Plan, cut and measure; where a measured latency is above its limit, plan for less.

    Args:
        model, data, target, latency, arguments: see `plan`.

    Returns:
        `(plan, smaller, report, seconds)`; `seconds` is `{latency: (before, after)}` as measured.
    """
    planner = Planner(model, data, latency=latency, **arguments)
    asked = budget = planner.budget(target)
    plan = planner.plan(budget)
    for tries in range(1, _TRIES + 1):
        smaller, report = plan.apply(model)
        seconds = _measured(latency, smaller)
        factors = {n: s / asked.limits[n] for n, s in seconds.items() if n in asked.limits}
        missed = {name: factor for name, factor in factors.items() if factor > 1}
        if not missed or tries == _TRIES:
            break
        limits = budget.limits.items()
        budget = Budget({name: limit / missed.get(name, 1.0) for name, limit in limits})
        try:
            plan = planner.plan(budget, asked)
        except BudgetError:
            break
    for name, factor in missed.items():
        warnings.warn(
            f"The smaller model's {name} is {in_words(name, seconds[name])}, {factor - 1:.1%} "
            f"above the {in_words(name, asked.limits[name])} that were asked for, after {tries} "
            "plans.",
            stacklevel=3,
        )
    return plan, smaller, report, {n: (plan.costs[n][0], s) for n, s in seconds.items()}


def _measured(latency, model):
    """`{latency: seconds}` of a model, for the tables that can measure one."""
    tables = (latency or {}).items()
    return {n: table.model_seconds(model) for n, table in tables if hasattr(table, "model_seconds")}
