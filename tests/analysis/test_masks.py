import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from keras_sparse.analysis import mask_overlap, plot_mask_overlap
from keras_sparse.callbacks import MaskHistory


def history(*epochs):
    """Of dicts of masks."""
    found = MaskHistory()
    found.sizes = {path: np.size(mask) for path, mask in epochs[-1].items()}
    found.epochs = [{path: np.packbits(mask) for path, mask in e.items()} for e in epochs]
    return found


def test_by_hand():
    masks = history(
        {"a": [1, 1, 0, 0], "b": [1, 0]},
        {"a": [0, 1, 1, 0], "b": [1, 0]},
        {"a": [0, 0, 1, 1], "b": [0, 1]},
    )
    expected = [[1, 2 / 4, 0], [2 / 4, 1, 1 / 5], [0, 1 / 5, 1]]
    np.testing.assert_allclose(mask_overlap(masks), expected)
    assert mask_overlap(masks, "b")[0].tolist() == [1, 1, 0]


@settings(deadline=None)
@given(st_numpy.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 40))))
def test_is_intersection_over_union(masks):
    overlap = mask_overlap(history(*({"w": mask} for mask in masks)))
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            union = (a | b).sum()
            assert overlap[i, j] == ((a & b).sum() / union if union else 1)


def test_large_masks_are_counted_in_parts():
    masks = np.random.default_rng(0).random((2, 1_300_000)) < 0.3
    overlap = mask_overlap(history({"w": masks[0]}, {"w": masks[1]}))
    assert overlap[0, 1] == (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()


def test_picture():
    overlap = np.array([[1, 0.25], [0.25, 1]])
    axes = plot_mask_overlap(overlap).axes[0]
    np.testing.assert_array_equal(np.asarray(axes.collections[0].get_array()), overlap)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(ValueError, match="no epochs"):
        mask_overlap(MaskHistory())
    with pytest.raises(ValueError, match=r"one of a.*Received: path='c'"):
        mask_overlap(history({"a": [1]}), "c")
    with pytest.raises(ValueError, match="a changed its size"):
        mask_overlap(history({"a": [1] * 20}, {"a": [1] * 3}))
