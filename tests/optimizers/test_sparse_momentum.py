import functools
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from keras_sparse.masks.schedules import ConstantSchedule
from keras_sparse.optimizers.sparse_momentum import SparseMomentum

from .matrix import slow_on_jax, thorough
from .reference import fill, first, network, prune_count, split, state

SHAPES = ((3, 3, 2, 8), (40, 12), (12, 5), (6, 2))


def reference(masks, weights, momenta, rate, redistribution):
    """One update by the paper's rule, layer by layer."""
    count = np.array([m.sum() for m in masks])
    size = np.array([m.size for m in masks])
    pruned = np.array([prune_count(rate, n) for n in count])
    source = {"momentum": momenta, "magnitude": weights}.get(redistribution)
    shares = (
        count
        if source is None
        else [np.abs(x[m]).mean() for x, m in zip(source, masks, strict=True)]
    )
    if redistribution != "none":
        growing = split(pruned.sum(), shares) > pruned
        sparsity = (size - count).astype("float32") / size.astype("float32")
        cap = np.array([prune_count(s, n) for s, n in zip(sparsity, count, strict=True)])
        pruned = np.where(growing, np.minimum(pruned, cap), pruned)
    layers = zip(weights, count, pruned, masks, strict=True)
    keep = [first(np.abs(w), n - p, m) for w, n, p, m in layers]
    grown = pruned
    if redistribution != "none":
        grown = fill(split(pruned.sum(), shares), size - count + pruned)
    return [k | first(np.abs(v), g, ~k) for k, v, g in zip(keep, momenta, grown, strict=True)]


FEW, MANY = (0.1, 0.5, False), (0.6, 0.3, True)


@pytest.mark.parametrize(
    ("redistribution", "numbers"),
    thorough(
        list(itertools.product(["momentum", "magnitude", "nonzero", "none"], [FEW, MANY])),
        *[("momentum", FEW), ("magnitude", MANY), ("nonzero", MANY), ("none", FEW)],
    ),
)
def test_an_update_is_the_rule_of_the_paper(redistribution, numbers):
    density, rate, ties = numbers
    optimizer = SparseMomentum(
        0.1,
        density=density,
        prune_rate=rate,
        redistribution=redistribution,
        update_every=None,
        distribution="erk",
        seed=2,
    )
    variables = network(optimizer, SHAPES, seed=1, ties=ties)
    for _ in range(3):
        masks, weights, momenta = state(optimizer, variables)
        expected = reference(masks, weights, momenta, rate, redistribution)
        optimizer.update_masks()
        new = state(optimizer, variables)[0]
        for mask, want in zip(new, expected, strict=True):
            np.testing.assert_array_equal(mask, want)
        rng = np.random.default_rng(5)
        for v, mask in zip(variables, new, strict=True):
            v.assign(np.where(mask, rng.standard_normal(v.shape), 0))


@slow_on_jax
def test_growth_by_gradient_takes_the_largest_gradients():
    optimizer = SparseMomentum(
        density=0.2, growth="gradient", redistribution="none", update_every=None, seed=0
    )
    variables = network(optimizer, [(10, 10)])
    (mask,), (weight,), _ = state(optimizer, variables)
    gradient = np.random.default_rng(4).standard_normal((10, 10)).astype("float32")
    keep = first(np.abs(weight), 10, mask)
    optimizer.update_masks([ops.convert_to_tensor(gradient)])
    np.testing.assert_array_equal(
        state(optimizer, variables)[0][0], keep | first(np.abs(gradient), 10, ~keep)
    )


@slow_on_jax
def test_growth_by_channel_shares_by_the_mean_momentum_of_channels():
    optimizer = SparseMomentum(
        0.1,
        density=0.25,
        growth="momentum_by_channel",
        redistribution="none",
        update_every=None,
        seed=0,
    )
    variables = network(optimizer, [(3, 3, 4, 6)], seed=3)
    (mask,), (weight,), (momentum,) = state(optimizer, variables)
    channel_means = np.abs(momentum).mean((0, 1, 2))
    keep = first(np.abs(weight), 27, mask)
    counts = fill(split(27, channel_means), (~keep).sum((0, 1, 2)))
    expected = keep.copy()
    for c, count in enumerate(counts):
        expected[..., c] |= first(np.abs(momentum[..., c]), count, ~keep[..., c])
    optimizer.update_masks()
    np.testing.assert_array_equal(state(optimizer, variables)[0][0], expected)


@slow_on_jax
def test_global_pruning_takes_the_smallest_of_all_layers():
    optimizer = SparseMomentum(
        density=0.3, prune="global_magnitude", redistribution="none", growth="random",
        update_every=None, seed=0,
    )  # fmt: skip
    variables = network(optimizer, SHAPES, seed=3)
    variables[1].assign(variables[1] * 2.0)
    masks, weights, _ = state(optimizer, variables)
    count = sum(m.sum() for m in masks)
    optimizer.update_masks()
    pruned = [change["pruned"] for change in optimizer.mask_changes.values()]
    active = [np.abs(w[m]) for w, m in zip(weights, masks, strict=True)]
    threshold = np.sort(np.concatenate(active))[prune_count(0.5, count) - 1]
    assert pruned == [(sizes <= threshold).sum() for sizes in active]


def test_with_adam_the_score_is_divided_by_the_root_of_the_second_moment():
    optimizer = SparseMomentum(
        density=0.2, inner="adam", redistribution="none", update_every=None, seed=0
    )
    variables = network(optimizer, [(10, 10)])
    (mask,), (weight,), (mean,) = state(optimizer, variables)
    variance = np.random.default_rng(1).random((10, 10)).astype("float32")
    optimizer._inner.slots[1][0].assign(variance)
    keep = first(np.abs(weight), 10, mask)
    optimizer.update_masks()
    score = np.abs(mean / (np.sqrt(variance) + np.float32(1e-8)))
    np.testing.assert_array_equal(state(optimizer, variables)[0][0], keep | first(score, 10, ~keep))


@slow_on_jax
def test_grown_weights_start_at_zero_and_keep_their_momentum():
    optimizer = SparseMomentum(0.0, density=0.2, update_every=1, seed=0)
    variables = network(optimizer, [(10, 10)])
    (before,), _, (momentum,) = state(optimizer, variables)
    optimizer.iterations.assign(1)
    optimizer.apply([ops.zeros((10, 10))])
    (after,), _, (kept,) = state(optimizer, variables)
    grown = after & ~before
    assert grown.any()
    np.testing.assert_allclose(kept, 0.9 * momentum, rtol=1e-6)
    # The first step of a grown weight starts from 0 and goes where its momentum goes.
    np.testing.assert_allclose(variables[0].numpy()[grown], 0.81 * momentum[grown], rtol=1e-6)


MODES = [
    {"redistribution": "momentum", "growth": "momentum", "prune": "magnitude"},
    {"redistribution": "magnitude", "growth": "momentum_by_channel", "prune": "global_magnitude"},
    {"redistribution": "nonzero", "growth": "gradient", "prune": "set"},
    {"redistribution": "none", "growth": "random", "prune": "global_magnitude"},
    {"redistribution": "momentum", "growth": "random", "prune": "set"},
]


@functools.cache
def prepared(number):
    optimizer = SparseMomentum(0.1, density=0.5, update_every=None, **MODES[number])
    return optimizer, network(optimizer, SHAPES)


@given(data=st.data(), number=st.sampled_from(range(len(MODES))))
def test_the_ones_add_up_for_any_masks_values_and_rates(data, number):
    optimizer, variables = prepared(number)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    levels = data.draw(st.sampled_from([[0.0], [0.0, 1.0], [np.nan, np.inf, -0.0, 1e-42], None]))

    def values(shape):
        x = rng.standard_normal(shape) if levels is None else rng.choice(levels, shape)
        return x.astype("float32")

    counts = [data.draw(st.integers(1, int(np.prod(shape)))) for shape in SHAPES]
    masks = list(optimizer.masks.values())
    for v, m, mask, count in zip(variables, optimizer._inner.slots[0], masks, counts, strict=True):
        ones = rng.permutation(np.arange(int(np.prod(v.shape))) < count).reshape(v.shape)
        mask.assign(ones)
        v.assign(np.where(ones, values(v.shape), 0))
        m.assign(values(v.shape))
    rate = data.draw(st.floats(0, 1))
    optimizer._schedule = ConstantSchedule(rate)
    gradients = [ops.convert_to_tensor(values(v.shape)) for v in variables]
    optimizer.update_masks(gradients)
    new = [int(mask.numpy().sum()) for mask in masks]
    assert sum(new) == sum(counts)
    assert min(new) >= 1
    if np.float32(rate) == 0:
        assert new == counts
        return
    changes = optimizer.mask_changes.values()
    assert [n - c["grown"] + c["pruned"] for n, c in zip(new, changes, strict=True)] == counts
    if optimizer.redistribution == "none":
        assert new == counts
