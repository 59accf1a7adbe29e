"""The papers' augmentation of CIFAR."""

import keras
import numpy as np


def taken(array, indices):
    """Entries along the first axis; a tensor stays a tensor, on its device."""
    if keras.ops.is_tensor(array):
        return keras.ops.take(array, indices, axis=0)
    return array.take(indices, axis=0)


def crop_and_flip(images, rng, pad=4):
    """Pads by reflection, crops each image at random, and mirrors half of them.

    Args:
        images: array or tensor of shape `(images, height, width, channels)` and any dtype; the
            dtype is kept. A tensor is cropped on its device.
        rng: `numpy.random.Generator`.
        pad: int, pixels to add on each side before the crop; less than the image size.

    Returns:
        An array like `images`.

    Raises:
        ValueError: images without four axes, or too small to be reflected.

    Example:

    >>> batch = crop_and_flip(x_train[:128], np.random.default_rng(0))

    Reference:
        Zagoruyko and Komodakis, arXiv 1605.07146, section 3; also sparse momentum and RDA.
    """
    if images.ndim != 4 or min(images.shape[1:3]) <= pad:
        raise ValueError(
            "`images` must have shape (images, height, width, channels) and more than "
            f"{pad} pixels a side. Received: images of shape {images.shape}"
        )
    count, height, width, channels = images.shape
    rows = rng.integers(0, 2 * pad + 1, count)[:, None] + np.arange(height)
    columns = rng.integers(0, 2 * pad + 1, count)[:, None] + np.arange(width)
    columns = np.where(rng.integers(0, 2, (count, 1), bool), columns[:, ::-1], columns)
    rows, columns = _reflected(rows - pad, height), _reflected(columns - pad, width)
    # One look-up pads, crops and flips, and NumPy's `take` releases the GIL.
    rows += np.arange(count)[:, None] * height
    pixels = rows[:, :, None] * width + columns[:, None, :]
    flat = (keras.ops if keras.ops.is_tensor(images) else np).reshape(images, (-1, channels))
    return taken(flat, pixels)


def _reflected(index, size):
    """Reflect indices outside 0 to `size` − 1 into the image, without repeating the border."""
    index = np.abs(index)
    return np.where(index >= size, 2 * (size - 1) - index, index)
