import functools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_sparse.masks.backend import compiled
from keras_sparse.masks.packing import Packing
from keras_sparse.masks.selection import (
    INT_MAX,
    magnitude_keys,
    mean_magnitude,
    select_globally,
    select_largest,
)

# A few sets of shapes, so that each function is compiled a few times only.
shapes = st.sampled_from(
    [
        ((1, 1),),
        ((4, 4), (3, 1)),
        ((5, 8), (2, 3, 2, 4), (1, 7)),
        ((3, 3, 2, 5), (30, 7), (7, 9), (1, 1, 1, 2)),
    ]
)


either_device = pytest.mark.parametrize("for_gpu", [False, True], ids=["cpu", "gpu"])


def compiles_for_gpu(answer):
    """What is chosen for the one device is right on the other, too."""
    return mock.patch("keras_sparse.masks.selection.compiles_for_gpu", return_value=answer)


@functools.cache
def functions(shapes, for_gpu):
    packing = Packing(shapes, width=8)

    def select(arrays, among, k, smallest):
        keys = magnitude_keys(packing.pack(arrays))
        keys = ops.where(smallest, INT_MAX - keys, keys)
        with compiles_for_gpu(for_gpu):
            chosen = select_largest(keys, k, packing, packing.pack(among, False))
        return packing.unpack(chosen)

    def select_all(arrays, k):
        keys = magnitude_keys(packing.pack(arrays))
        with compiles_for_gpu(for_gpu):
            chosen = select_globally(keys, k, packing, packing.valid())
        return packing.unpack(chosen)

    return compiled(select), compiled(select_all)


@functools.cache
def compiled_mean(shapes):
    packing = Packing(shapes, width=8)

    def mean(arrays, among):
        return mean_magnitude(packing.pack(arrays), packing.pack(among, False), packing)

    return compiled(mean)


def tensors(arrays):
    return [ops.convert_to_tensor(a) for a in arrays]


# Few levels make ties, and the odd values are those that break a comparison of floats.
levels = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e-42, -1e-42, np.inf, -np.inf, np.nan, 1e30], "float32"
)


def arrays_of(data, shapes, values):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    if data.draw(st.booleans()):
        return [rng.standard_normal(shape).astype("float32") for shape in shapes]
    few = values[: data.draw(st.integers(1, len(values)))]
    return [rng.choice(few, size=shape) for shape in shapes]


def largest(keys, k, among):
    """Reference: marks the k largest, the first index first among equals."""
    order = np.lexsort((np.arange(keys.size), -keys.astype("int64").ravel()))
    order = order[among.ravel()[order]][: max(k, 0)]
    mask = np.zeros(keys.size, bool)
    mask[order] = True
    return mask.reshape(keys.shape)


def bits(x):
    return np.abs(x).view("int32")


@pytest.mark.parametrize("by_channel", [False, True])
@settings(deadline=None, max_examples=30)
@given(data=st.data(), shapes=shapes)
def test_packing_is_undone_and_counts_every_group(by_channel, data, shapes):
    packing = Packing(shapes, by_channel=by_channel, width=4)
    arrays = [np.arange(1, 1 + np.prod(shape), dtype="int32").reshape(shape) for shape in shapes]
    packed = packing.pack([ops.convert_to_tensor(a) for a in arrays])
    for array, back in zip(arrays, packing.unpack(packed), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(back), array)
    assert int(ops.sum(ops.cast(packing.valid(), "int32"))) == sum(a.size for a in arrays)
    odd = [
        (a.reshape(-1, a.shape[-1]) % 2).sum(0) if by_channel else [(a % 2).sum()] for a in arrays
    ]
    np.testing.assert_array_equal(
        ops.convert_to_numpy(packing.count(packed % 2 == 1)), np.concatenate(odd)
    )


def test_a_packing_refuses_more_weights_than_an_index_can_hold():
    with pytest.raises(ValueError, match="can be masked together"):
        Packing([(2**16, 2**15)])


@either_device
@settings(deadline=None, max_examples=60)
@given(data=st.data(), shapes=shapes)
def test_exactly_k_are_selected_for_any_values(for_gpu, data, shapes):
    select, _ = functions(shapes, for_gpu)
    arrays = arrays_of(data, shapes, levels)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    among = [rng.random(shape) < 0.7 for shape in shapes]
    k = [data.draw(st.integers(-1, a.size + 1)) for a in arrays]
    smallest = data.draw(st.booleans())
    chosen = select(
        tensors(arrays),
        tensors(among),
        ops.convert_to_tensor(k, "int32"),
        ops.convert_to_tensor(smallest),
    )
    for array, candidates, count, mask in zip(arrays, among, k, chosen, strict=True):
        reference = -bits(array).astype("int64") if smallest else bits(array)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(mask), largest(reference, count, candidates)
        )


@either_device
@settings(deadline=None, max_examples=40)
@given(data=st.data(), shapes=shapes)
def test_a_global_selection_is_exact_and_leaves_no_layer_empty(for_gpu, data, shapes):
    _, select_all = functions(shapes, for_gpu)
    arrays = arrays_of(data, shapes, levels)
    size = sum(a.size for a in arrays)
    k = data.draw(st.integers(len(shapes), size))
    chosen = select_all(tensors(arrays), ops.convert_to_tensor(k, "int32"))
    chosen = [ops.convert_to_numpy(mask) for mask in chosen]
    assert sum(mask.sum() for mask in chosen) == k
    assert all(mask.any() for mask in chosen)
    flat_keys = np.concatenate([bits(a).ravel() for a in arrays]).astype("int64")
    best = np.concatenate([largest(bits(a), 1, np.ones(a.shape, bool)).ravel() for a in arrays])
    flat_keys[best] = 2**31
    np.testing.assert_array_equal(
        np.concatenate([mask.ravel() for mask in chosen]),
        largest(flat_keys, k, np.ones(size, bool)),
    )


def test_half_precision_selects_by_its_own_values():
    x = ops.cast([[1.0, 1.001, -2.0, 0.0]], "bfloat16")
    packing = Packing([(1, 4)], width=4)
    mask = select_largest(
        magnitude_keys(x), ops.convert_to_tensor([2], "int32"), packing, packing.valid()
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(mask), [[True, False, True, False]])


@settings(deadline=None, max_examples=60)
@given(data=st.data(), shapes=shapes)
def test_mean_magnitude_is_the_mean(data, shapes):
    mean = compiled_mean(shapes)
    arrays = arrays_of(data, shapes, levels)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    among = [rng.random(shape) < 0.5 for shape in shapes]
    means = mean(tensors(arrays), tensors(among))
    expected = [
        np.where(np.isfinite(a), np.abs(a), 0)[m].astype("float64").sum() / max(m.sum(), 1)
        for a, m in zip(arrays, among, strict=True)
    ]
    np.testing.assert_allclose(ops.convert_to_numpy(means), expected, rtol=1e-5, atol=1e-37)


def test_mean_magnitude_of_full_rows_does_not_overflow():
    largest = np.nextafter(np.float32(2), np.float32(0))
    packing = Packing([(3, 256)])
    x = packing.pack([ops.full((3, 256), largest)])
    mean = mean_magnitude(x, ops.ones_like(x, dtype="bool"), packing)
    np.testing.assert_allclose(ops.convert_to_numpy(mean), [largest], rtol=1e-7)
