"""Chooses how many channels each group keeps, so that a budget is met."""

import bisect
import contextlib

import numpy as np

from keras_sparse.compression.budget import Budget
from keras_sparse.compression.reach import out_of_reach

# No group gets narrower than this fraction of its width, unless the budget requires it.
_LEAST_SHARE = 0.1
# A group loses at most this fraction of its channels in one step.
_STEP_SHARE = 1 / 32


class BudgetError(ValueError):
    """Raised if no choice of channels meets a budget."""


def candidates(costs, scores, budget, *, steps=None):
    """Several choices of widths within a budget, which rely on the scores to different degrees.

    Scores show well which channel of a group matters least, but less well which group does. So they
    are used as they are, relative to the mean of their group, and in between. Scores relative to
    their group are also used without regard to what a channel costs.

    Args:
        costs, scores, budget, steps: see `allocate`.

    Returns:
        List of int arrays, all different.
    """
    found = [uniform(costs, budget)]
    if steps:
        found.append(uniform(costs, budget, steps))
    for trust, by_cost in ((1.0, True), (0.5, True), (0.0, True), (0.0, False)):
        scaled = {group: _between(own, trust) for group, own in scores.items()}
        for least_share in (_LEAST_SHARE, 0.25, 0.5):
            arguments = {"steps": steps, "least_share": least_share, "by_cost": by_cost}
            with contextlib.suppress(BudgetError):
                found.append(allocate(costs, scaled, budget, **arguments))
    return [w for i, w in enumerate(found) if not any((w == v).all() for v in found[:i])]


def _between(scores, trust):
    """Interpolates between the given scores (`trust` 1) and scores with mean 1 (`trust` 0)."""
    mean = scores.mean()
    return scores / mean ** (1 - trust) if mean > 0 else scores


def allocate(costs, scores, budget, *, steps=None, least_share=_LEAST_SHARE, by_cost=True):
    """Finds widths within a budget that lose as little importance as possible.

    The search is greedy. Each step reduces the width of one group: the one that loses the least
    importance for the cost that it saves. Afterwards, channels are added again as long as the
    budget allows.

    Args:
        costs: a `CostModel`.
        scores: `{group: float array (channels,)}`, not negative.
        budget: a `Budget`.
        steps: None, or `{group: widths}` that a group may have, if other widths save nothing.
        least_share: float; no group gets narrower than this fraction of its width, unless the
            budget requires it.
        by_cost: bool, whether to divide the lost importance by the saved cost; otherwise, it is
            divided by the number of removed channels.

    Returns:
        An int array with the width of each group of `costs.groups`.

    Raises:
        BudgetError: no widths were found that meet the budget.

    Reference:
        AMC and NetAdapt (arXiv 1804.03230) use the same greedy choice by measured cost.
    """
    lost = [_lost(scores[group]) for group in costs.groups]
    tried = []
    for widths in _ever_narrower(costs, lost, budget, steps, least_share, by_cost):
        if budget.met(_totals(costs, budget, widths)):
            return _widen(costs, lost, budget, widths, _menus(costs, steps, 0, every=True))
        tried.append(widths)
    raise BudgetError(out_of_reach(costs, budget, tried[::-1]))


def _ever_narrower(costs, lost, budget, steps, least_share, by_cost):
    for menus in (_menus(costs, steps, least_share), _menus(costs, None, 0)):
        yield _narrow(costs, lost, budget, menus, by_cost)
    yield _narrowest(costs)


def uniform(costs, budget, steps=None):
    """Keeps the same fraction of channels in every group: the largest that meets the budget.

    Args:
        costs: a `CostModel`.
        budget: a `Budget`.
        steps: None, or `{group: widths}`; each width is rounded up to one of these, because widths
            between them save nothing.

    Returns:
        An int array with the width of each group.

    Raises:
        BudgetError: even the smallest fraction costs too much.
    """
    full = costs.full()
    shares = np.unique(np.concatenate([np.arange(1, n + 1) / n for n in full]))
    menus = [np.array((steps or {}).get(group, range(1, group.size + 1))) for group in costs.groups]

    def at(i):
        widths = np.maximum(1, np.floor(full * shares[i] + 1e-9)).astype(int)
        rows = zip(menus, widths, full, strict=True)
        return np.array([menu[menu >= width].min(initial=size) for menu, width, size in rows])

    def fits(i):
        return budget.met(_totals(costs, budget, at(i)))

    # A latency does not always rise with the number of channels.
    if any(name.endswith("latency") for name in budget.limits):
        best = next((i for i in reversed(range(len(shares))) if fits(i)), None)
    else:
        best = bisect.bisect_left(range(len(shares)), True, key=lambda i: not fits(i)) - 1
    if best is None or best < 0:
        raise BudgetError(out_of_reach(costs, budget, [at(i) for i in range(len(shares))]))
    return at(best)


def check_narrowest(costs, budget):
    """Raises a `BudgetError` if a model with one channel in every group costs too much.

    Latencies are not checked, because they do not always fall with the number of channels.
    """
    sure = {name: limit for name, limit in budget.limits.items() if not name.endswith("latency")}
    narrowest = _narrowest(costs)
    if not Budget(sure).met(_totals(costs, Budget(sure), narrowest)):
        raise BudgetError(out_of_reach(costs, Budget(sure), [narrowest]))


def _narrowest(costs):
    return np.ones(len(costs.groups), int)


def _lost(scores):
    """The lost importance at each width, from 0 channels to all."""
    kept = np.concatenate([[0.0], np.cumsum(np.sort(np.maximum(scores, 0.0))[::-1])])
    return kept[-1] - kept


def _menus(costs, steps, least_share, every=False):
    """For each group the widths that it may have, in rising order up to its full width."""
    menus = []
    for group in costs.groups:
        size = group.size
        if steps and group in steps:
            menu = set(steps[group])
        elif every:
            menu = set(range(1, size + 1))
        else:
            menu = set(range(size, 0, -max(1, int(size * _STEP_SHARE)))) | {1}
        least = max(1, int(np.ceil(size * least_share)))
        menus.append(np.array(sorted({w for w in menu if least <= w < size} | {size})))
    return menus


def _totals(costs, budget, widths):
    return {name: costs.total(name, widths) for name in budget.limits}


class _Moves:
    """The savings of each group's next widths; cached until the group or a neighbour changes."""

    def __init__(self, costs, budget, widths, menus):
        self._costs, self._budget, self._menus = costs, budget, menus
        self.widths = widths.copy()
        self.totals = _totals(costs, budget, widths)
        self._beside = costs.neighbours(budget.limits)
        self._known = {}

    def of(self, i, wider):
        """`[(width, {cost: saved amount})]` for the next widths of group `i`."""
        if i not in self._known:
            menu, width = self._menus[i], self.widths[i]
            others = menu[menu > width][:1] if wider else menu[menu < width][::-1][:3]
            self._known[i] = [
                (w, {n: self._costs.change(n, self.widths, i, w) for n in self._budget.limits})
                for w in others
            ]
        return self._known[i]

    def relief(self, name, i, width, saved):
        """How much nearer to the limit of a cost another width of group `i` brings the model."""
        limit = self._budget.limits[name]
        return self._costs.relief(name, self.widths, i, width, saved[name], limit)

    def take(self, i, width, saved):
        """Gives group `i` another width."""
        self.widths[i] = width
        self.totals = {name: total - saved[name] for name, total in self.totals.items()}
        for j in self._beside[i]:
            self._known.pop(j, None)


def _narrow(costs, lost, budget, menus, by_cost):
    moves = _Moves(costs, budget, costs.full(), menus)
    limits = budget.limits
    while not budget.met(moves.totals):
        pressing = [name for name in limits if moves.totals[name] > limits[name]]
        best = None
        for i in range(len(menus)):
            for width, saved in moves.of(i, wider=False):
                gain = sum(moves.relief(name, i, width, saved) / limits[name] for name in pressing)
                if gain > 0:
                    divisor = gain if by_cost else moves.widths[i] - width
                    rate = (lost[i][width] - lost[i][moves.widths[i]]) / divisor
                    if best is None or rate < best[0]:
                        best = rate, i, width, saved
        if best is None:
            break
        moves.take(*best[1:])
    return moves.widths


def _widen(costs, lost, budget, widths, menus):
    """Adds channels within the budget, those with the most importance for their cost first."""
    moves = _Moves(costs, budget, widths, menus)
    limits, full = budget.limits, costs.full()
    # A measured latency of the full model may be above the sum of its layers.
    whole_fits = budget.met(_totals(costs, budget, full))
    while True:
        best, missing = None, (full - moves.widths).sum()
        for i in range(len(menus)):
            for width, saved in moves.of(i, wider=True):
                if any(moves.totals[name] - saved[name] > limits[name] for name in limits):
                    continue
                if not whole_fits and width - moves.widths[i] == missing:
                    continue
                price = sum(max(-saved[name], 0) / limits[name] for name in limits)
                rate = (lost[i][moves.widths[i]] - lost[i][width]) / max(price, 1e-12)
                if best is None or rate > best[0]:
                    best = rate, i, width, saved
        if best is None:
            return moves.widths
        moves.take(*best[1:])
