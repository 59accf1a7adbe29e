"""What a model can be brought down to: the text of an error for a budget out of reach."""

import math

from keras_sparse.compression.budget import in_words

_REST = {"arena": "what the runtime keeps for operators and channels"}


def out_of_reach(costs, budget, choices):
    """Why a budget cannot be met, and what can be requested instead.

    Args:
        costs: a `CostModel`.
        budget: a `Budget` that no choice meets.
        choices: list of widths, int arrays, that cost little.

    Returns:
        A text with a sentence for each limit that none of the choices keeps.
    """
    choices = [*choices, costs.full()]
    totals = [{name: costs.total(name, widths) for name in budget.limits} for widths in choices]
    least = {name: min(own[name] for own in totals) for name in budget.limits}
    beyond = [name for name, limit in budget.limits.items() if least[name] > limit]
    if not beyond:
        each = ", ".join(f"{name} {in_words(name, cost)}" for name, cost in least.items())
        return (
            "`target` cannot be met: no widths were found that keep all limits at once. Each alone "
            f"can be kept: the smallest are {each}. Relax one of them."
        )
    sentences = []
    for name in beyond:
        widths = choices[[own[name] for own in totals].index(least[name])]
        sentences.append(_sentence(costs, name, widths, least[name], budget.limits[name]))
    full = costs.full()
    shares = {name: _rounded_up(least[name] / costs.total(name, full)) for name in beyond}
    return f"`target` cannot be met. {' '.join(sentences)} Ask for no less than {shares}."


def _sentence(costs, name, widths, least, limit):
    whole = costs.total(name, costs.full())
    channels = "one channel in every group" if (widths == 1).all() else "the fastest widths found"
    layer, own = costs.heaviest(name, widths)
    rest = _REST.get(name, "that of other layers")
    return (
        f"{name}: {in_words(name, limit)} asked, and {in_words(name, least)} is the smallest that "
        f"can be had, {least / whole:.3g} of the model's {in_words(name, whole)}, with {channels}. "
        f"Most of it is in the layer {layer!r}, {in_words(name, own)}; the rest is {rest}."
    )


def _rounded_up(share):
    """A share with two digits, not below the given one."""
    digits = 2 - math.ceil(math.log10(share))
    return math.ceil(round(share * 10**digits, 6)) / 10**digits
