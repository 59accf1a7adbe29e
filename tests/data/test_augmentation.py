import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sparse.data import Dataset, crop_and_flip


@given(
    seed=st.integers(0, 2**31),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    pad=st.integers(0, 4),
)
def test_each_image_is_a_crop_of_the_padded_one_or_its_mirror_image(seed, height, width, pad):
    images = np.arange(3 * height * width * 2, dtype="float32").reshape(3, height, width, 2)
    varied = crop_and_flip(images, np.random.default_rng(seed), pad)
    assert varied.shape == images.shape
    assert varied.dtype == images.dtype
    border = (pad, pad)
    for image, new in zip(images, varied, strict=True):
        padded = np.pad(image, (border, border, (0, 0)), mode="reflect")
        crops = [
            padded[i : i + height, j : j + width]
            for i in range(2 * pad + 1)
            for j in range(2 * pad + 1)
        ]
        assert any((new == c).all() or (new == c[:, ::-1]).all() for c in crops)


def test_all_crops_and_both_sides_occur():
    image = np.arange(36.0).reshape(1, 6, 6, 1)
    varied = crop_and_flip(np.repeat(image, 3000, axis=0), np.random.default_rng(0), pad=2)
    assert len(np.unique(varied.reshape(3000, -1), axis=0)) == 5 * 5 * 2


def small():
    x = np.arange(10 * 6 * 6, dtype="float32").reshape(10, 6, 6, 1)
    return x, np.arange(10)


def test_what_is_held_out():
    x, y = small()
    task = Dataset("digits", x, y, x[:1], y[:1], 10).held_out(0.3)
    np.testing.assert_array_equal(task.x_train, x[:7])
    np.testing.assert_array_equal(task.y_test, y[7:])
    with pytest.raises(ValueError, match="share=1"):
        Dataset("digits", x, y, x, y, 10).held_out(1)


def test_images_that_are_too_small_to_be_reflected():
    x, _ = small()
    with pytest.raises(ValueError, match="more than 6 pixels"):
        crop_and_flip(x, np.random.default_rng(0), pad=6)
