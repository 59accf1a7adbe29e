"""The initial masks."""

import math

import numpy as np

from keras_sparse.masks.backend import value_outside_trace
from keras_sparse.masks.channels import channel_axes, is_depthwise
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
            `"2:4"`, a number of inputs that is no multiple of 4, or a depthwise kernel; weights
            without a value yet, if the masks depend on the values.
    """
    if distribution == "zeros":
        masks = [value_outside_trace(v) != 0 for v in variables]
        if required:
            _check_zeros(masks, paths)
        return masks
    pattern = n_of_m(distribution)
    if pattern is not None:
        weights = [value_outside_trace(v) for v in variables]
        if required:
            _check_inputs(weights, paths, *pattern)
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


def _check_inputs(weights, paths, n, m):
    for w, path in zip(weights, paths, strict=True):
        shape = f"{path!r}, of shape {w.shape}"
        if is_depthwise(path, w.shape):
            raise ValueError(
                f"distribution='{n}:{m}' chooses among the inputs of an output, and in a depthwise "
                f"convolution an output has one: {shape}. (A convolution with one filter has such "
                "a shape too.) Keep it dense with `exclude`."
            )
        inputs = w.shape[_input_axis(w, path)]
        if inputs % m:
            raise ValueError(
                f"distribution='{n}:{m}' needs a number of inputs that {m} divides, and {path!r} "
                f"has {inputs}, of shape {w.shape}. Keep it dense with `exclude`."
            )


def _input_axis(weights, path):
    return channel_axes(path, weights.shape)[-1]


def _largest_of(weights, path, n, m):
    """The mask of the n largest of each m inputs of an output; among equal ones the first."""
    axis = _input_axis(weights, path)
    if is_depthwise(path, weights.shape) or weights.shape[axis] % m:
        return np.ones(weights.shape, bool)  # of a saved optimizer, whose masks come next
    sizes = np.moveaxis(np.abs(weights), axis, -1)
    groups = sizes.reshape(*sizes.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    ranks = np.argsort(order, axis=-1, kind="stable")
    return np.moveaxis((ranks < n).reshape(sizes.shape), -1, axis)
