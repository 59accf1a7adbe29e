"""Small image files, and what every process must read from them."""

import hashlib
import itertools

import keras
import numpy as np

from keras_sparse.data import Batches, ImageFolder, crop_and_flip

CLASSES = ("ant", "bee", "cat")
TRAIN, TEST = 5, 2  # of each class


def write(folder):
    """`folder` with class folders of JPEG and PNG files of several sizes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("val", TEST)):
        for name, number in itertools.product(CLASSES, range(count)):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 256, (*rng.integers(20, 50, 2), 3))
            ending = ("jpg", "png", "JPEG")[number % 3]
            path = folder / part / name / f"{number}.{ending}"
            keras.utils.save_img(path, image, scale=False)
    return folder


def digests(folder):
    """Of what the pipelines give in two epochs."""
    rng = np.random.default_rng(0)
    x, y = rng.random((10, 8, 8, 3), dtype="float32"), np.arange(10)
    images = ImageFolder(folder, size=8)
    steps = 2 * images.steps_per_epoch(4)
    return [
        _digest(itertools.islice(Batches(x, y, 4, seed=5, augment=crop_and_flip), 6)),
        _digest(images.train(4, seed=5).take(steps).as_numpy_iterator()),
        _digest(images.test(4).as_numpy_iterator()),
    ]


def _digest(batches):
    found = hashlib.sha256()
    for x, y in batches:
        found.update(x.tobytes() + y.tobytes())
    return found.hexdigest()
