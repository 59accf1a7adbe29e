"""The initial masks."""

import math

import numpy as np

from keras_sparse.masks.backend import value_outside_trace
from keras_sparse.masks.distributions import layer_budgets, n_of_m


def first_masks(variables, paths, density, distribution, rng, required=True):
    """Masks for the sparse variables of an optimizer.

    Args:
        variables: list of `keras.Variable`s.
        paths: list of their paths, for a distribution by pattern and for messages.
        density: float in (0, 1], the share of weights that are kept.
        distribution: see `distributions.check_distribution`. For `"erk"`, `"uniform"` and a dict
            the masks are random, with the budgets of `layer_budgets`. `"zeros"` keeps the weights
            that are not zero, `"2:4"` the two largest of four; both ignore the density.
        rng: a `numpy.random.Generator`.
        required: bool; whether `"zeros"` requires zeros in the weights. False if saved masks are
            loaded next.

    Returns:
        A list of bool NumPy arrays.

    Raises:
        ValueError: a layer that would keep no weight; for `"zeros"`, a network without zeros; for
            `"2:4"`, a number of inputs that is no multiple of 4; weights without a value yet, if
            the masks depend on the values.
    """
    if distribution == "zeros":
        masks = [value_outside_trace(v) != 0 for v in variables]
        if required:
            _check_zeros(masks, paths)
        return masks
    pattern = n_of_m(distribution)
    if pattern is not None:
        weights = [value_outside_trace(v) for v in variables]
        return [_largest_of(w, path, *pattern) for w, path in zip(weights, paths, strict=True)]
    shapes = [tuple(v.shape) for v in variables]
    masks = []
    for shape, budget in zip(
        shapes, layer_budgets(shapes, paths, density, distribution), strict=True
    ):
        mask = np.zeros(shape, bool)
        mask.flat[rng.choice(math.prod(shape), budget, replace=False)] = True
        masks.append(mask)
    return masks


def _check_zeros(masks, paths):
    empty = [path for path, mask in zip(paths, masks, strict=True) if not mask.any()]
    if empty:
        raise ValueError(
            f"With distribution='zeros' all weights of {', '.join(empty)} would stay zero. Load "
            "the sparse weights first, or exclude what is zero when it is initialized."
        )
    if all(mask.all() for mask in masks):
        raise ValueError(
            "distribution='zeros' keeps the zeros of the weights, and none of them is zero. Load "
            "the sparse weights before the optimizer is built, or give a density."
        )


def _largest_of(weights, path, n, m):
    """The mask of the n largest of each m inputs of an output; among equal ones the first."""
    inputs = weights.shape[-2]
    if inputs % m:
        raise ValueError(
            f"distribution='{n}:{m}' needs a number of inputs that {m} divides, and {path!r} has "
            f"{inputs}, of shape {weights.shape}. Keep it dense with `exclude`."
        )
    groups = np.abs(weights).reshape(*weights.shape[:-2], inputs // m, m, weights.shape[-1])
    order = np.argsort(-groups, axis=-2, kind="stable")
    ranks = np.argsort(order, axis=-2, kind="stable")
    return (ranks < n).reshape(weights.shape)
