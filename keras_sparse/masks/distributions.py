"""The distribution of a sparsity over layers, in whole numbers that add up exactly."""

import math
import re

import numpy as np

from keras_sparse.validation import check_number

DISTRIBUTIONS = ("uniform", "erk")


def layer_budgets(shapes, paths, density, distribution):
    """How many weights each layer keeps.

    Args:
        shapes: list of shapes of the sparse weights.
        paths: list of their paths, for a distribution by pattern and for messages.
        density: float in (0, 1], the share of weights that are kept.
        distribution: `"uniform"`, the same density everywhere; `"erk"`, a density in proportion to
            the sum of the shape divided by its product, so that large layers are the sparsest; or a
            dict from regular expressions, searched for in the paths, to the densities of the layers
            that match. All other layers then have `density`.

    Returns:
        A list of ints. For `"uniform"` and `"erk"` they sum to `round(density * number of
        weights)`. For a dict, each layer gets `round(its density * its size)`.

    Raises:
        ValueError: a density outside (0, 1], an unknown distribution, a pattern that matches
            nothing, or a layer that would keep no weight at all.

    Example:

    >>> layer_budgets([(784, 300), (300, 10)], ["a/kernel", "b/kernel"], 0.05, "uniform")
    [11760, 150]

    Reference:
        ERK: [Evci et al., 2020](https://arxiv.org/abs/1911.11134), after the Erdős–Rényi graphs of
        [Mocanu et al., 2018](https://arxiv.org/abs/1707.04780).
    """
    check_number("density", density, "(0, 1]")
    if not isinstance(check_distribution(distribution), dict) and distribution not in DISTRIBUTIONS:
        raise ValueError(f"{distribution!r} has no budgets: the weights decide.")
    sizes = [math.prod(shape) for shape in shapes]
    if isinstance(distribution, dict):
        budgets = _by_pattern(sizes, paths, density, distribution)
    else:
        total = round(density * sum(sizes))
        exact = [size * density for size in sizes]
        if distribution == "erk":
            exact = _erk(shapes, sizes, total)
        budgets = _round_to_total(exact, sizes, total)
    for path, size, budget in zip(paths, sizes, budgets, strict=True):
        if budget == 0:
            raise ValueError(
                f"At density {density} with distribution {distribution!r} the layer {path!r} would "
                f"keep none of its {size} weights, and the outputs would not depend on the inputs. "
                "Raise `density`, keep the layer dense with `exclude`, or give it its own density "
                "with `distribution={pattern: density}`."
            )
    return budgets


def global_budget(sizes, density):
    """How many weights a choice from all layers together keeps: `round(density * sum(sizes))`.

    Raises:
        ValueError: a density outside (0, 1], or fewer weights than layers, so that a layer would be
            empty.
    """
    check_number("density", density, "(0, 1]")
    total = round(density * sum(sizes))
    if total < len(sizes):
        raise ValueError(
            f"At density {density} only {total} of {sum(sizes)} weights are kept, and at least one "
            f"in each of the {len(sizes)} layers is needed. Keep more, or exclude some layers."
        )
    return total


def n_of_m(distribution):
    """`(n, m)` of a distribution "n:m", None for any other."""
    found = re.fullmatch(r"(\d+):(\d+)", distribution) if isinstance(distribution, str) else None
    return found and tuple(map(int, found.groups()))


def check_distribution(distribution):
    """Check a distribution, as far as possible without the weights.

    Args:
        distribution: `"erk"`, `"uniform"`, a dict from patterns to densities; `"zeros"`, the
            weights that are not zero; or `"2:4"`, two of every four consecutive inputs of an output
            (other numbers work too).

    Returns:
        The distribution, with densities as Python floats.

    Raises:
        ValueError: an unknown name, a pattern that is no regular expression, a density outside
            (0, 1].
    """
    if isinstance(distribution, str) and distribution in (*DISTRIBUTIONS, "zeros"):
        return distribution
    if n_of_m(distribution) is not None:
        n, m = n_of_m(distribution)
        if 0 < n < m:
            return distribution
    if not isinstance(distribution, dict):
        raise ValueError(
            f"`distribution` is one of {(*DISTRIBUTIONS, 'zeros', '2:4')} or a dict from patterns "
            "to densities. "
            f"Received: distribution={distribution!r}"
        )
    for pattern in distribution:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            raise ValueError(
                f"`distribution` has a pattern that is no regular expression ({error}). "
                f"Received: {pattern!r}"
            ) from error
    return {
        pattern: check_number(f"distribution[{pattern!r}]", density, "(0, 1]")
        for pattern, density in distribution.items()
    }


def _by_pattern(sizes, paths, density, patterns):
    densities = [density] * len(sizes)
    for pattern, own in patterns.items():
        matches = [i for i, path in enumerate(paths) if re.search(pattern, path)]
        if not matches:
            raise ValueError(
                f"No sparse weight matches the pattern {pattern!r} of `distribution`. "
                f"Received weights: {paths}"
            )
        for i in matches:
            densities[i] = own
    return [round(own * size) for own, size in zip(densities, sizes, strict=True)]


def _erk(shapes, sizes, total):
    """Budgets before rounding; layers above density 1 become dense, the others are solved again."""
    raw = [sum(shape) / math.prod(shape) for shape in shapes]
    dense = set()
    while True:
        rest = [i for i in range(len(sizes)) if i not in dense]
        if not rest:
            return [float(size) for size in sizes]
        left = total - sum(sizes[i] for i in dense)
        scale = left / sum(raw[i] * sizes[i] for i in rest)
        over = {i for i in rest if scale * raw[i] > 1}
        if not over:
            break
        dense |= over
    return [float(size) if i in dense else scale * raw[i] * size for i, size in enumerate(sizes)]


def _round_to_total(exact, sizes, total):
    """Rounds down, and gives the missing weights to the largest fractions."""
    floors = np.minimum(np.floor(exact), sizes).astype("int64")
    remainders = np.where(floors < sizes, np.asarray(exact) - floors, -1.0)
    order = np.argsort(-remainders, kind="stable")
    floors[order[: total - floors.sum()]] += 1
    return [int(floor) for floor in floors]
