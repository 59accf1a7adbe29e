"""The error message for a budget that cannot be met, with the smallest possible costs."""

import math

from keras_sparse.compression.budget import in_words

_REST = {"arena": "what the runtime keeps for operators and channels"}


def out_of_reach(costs, budget, choices):
    """Explains why a budget cannot be met, and what can be requested instead.

    Args:
        costs: a `CostModel`.
        budget: a `Budget` that no choice meets.
        choices: list of int arrays, widths with low costs.

    Returns:
        A text with a sentence for each limit that none of the choices meets.
    """
    choices = [*choices, costs.full()]
    totals = [{name: costs.total(name, widths) for name in budget.limits} for widths in choices]
    least = {name: min(own[name] for own in totals) for name in budget.limits}
    beyond = [name for name, limit in budget.limits.items() if least[name] > limit]
    if not beyond:
        each = ", ".join(f"{name} {in_words(name, cost)}" for name, cost in least.items())
        return (
            "`target` cannot be met: no widths were found that meet all limits at once. Each limit "
            f"alone can be met; the smallest costs are {each}. Raise one of the limits."
        )
    sentences = []
    for name in beyond:
        widths = choices[[own[name] for own in totals].index(least[name])]
        sentences.append(_sentence(costs, name, widths, least[name], budget.limits[name]))
    full = costs.full()
    shares = {name: _rounded_up(least[name] / costs.total(name, full)) for name in beyond}
    return (
        f"`target` cannot be met. {' '.join(sentences)} Set limits of at least {shares}: "
        "numbers up to 1 are shares of the model's costs, larger numbers are absolute."
    )


def _sentence(costs, name, widths, least, limit):
    whole = costs.total(name, costs.full())
    channels = "one channel in every group" if (widths == 1).all() else "the fastest widths found"
    layer, own = costs.heaviest(name, widths)
    rest = _REST.get(name, "that of other layers")
    return (
        f"The limit of {name} is {in_words(name, limit)}, and the smallest that can be reached is "
        f"{in_words(name, least)}: {least / whole:.3g} of the model's {in_words(name, whole)}, "
        f"with {channels}. The layer {layer!r} needs {in_words(name, own)} of it; the rest is "
        f"{rest}."
    )


def _rounded_up(share):
    """Rounds a fraction up to two significant digits."""
    digits = 2 - math.ceil(math.log10(share))
    return math.ceil(round(share * 10**digits, 6)) / 10**digits
