"""Loading small image data sets into memory."""

import dataclasses
import pathlib

import keras
import numpy as np

from keras_sparse.array_files import read_arrays

# Name to (image shape, classes).
DATASETS = {
    "digits": ((8, 8, 1), 10),
    "mnist": ((28, 28, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
}
_LARGEST = 1e30
_KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels of a classification task.

    Attributes:
        name: the data set's name.
        x_train, x_test: float32 of shape `(images, height, width, channels)`; each channel has
            mean 0 and standard deviation 1 over the training images.
        y_train, y_test: int32 of shape `(images,)`, from 0 to `classes` − 1.
        classes: number of classes.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int

    def held_out(self, share):
        """The same task with the last training images as its test images.

        Use it to choose settings without the test images. The sparse momentum paper trains on the
        first 90% only.

        Args:
            share: float in (0, 1), the share of the training images that are held out.

        Returns:
            A `Dataset`; the images are not normalised again.

        Raises:
            ValueError: a share that leaves no image for training or for testing.

        Example:

        >>> len(load("mnist").held_out(0.1).x_train)
        54000
        """
        kept = round(len(self.x_train) * (1 - share))
        if not 0 < kept < len(self.x_train):
            raise ValueError(
                f"`share` must leave images on both sides. Received: share={share} of "
                f"{len(self.x_train)} images"
            )
        return dataclasses.replace(
            self,
            x_train=self.x_train[:kept],
            y_train=self.y_train[:kept],
            x_test=self.x_train[kept:],
            y_test=self.y_train[kept:],
        )

    @property
    def input_shape(self):
        """`(height, width, channels)` of an image."""
        return self.x_train.shape[1:]


def load(name, data_dir=None):
    """Load a data set, check it, and normalise its images.

    Args:
        name: one of `DATASETS`. `"digits"` comes with scikit-learn: 1,797 images, of which every
            fifth is kept for testing. The others are read from `data_dir`, or else downloaded by
            `keras.datasets`.
        data_dir: folder that holds `NAME.npz` with the arrays `x_train`, `y_train`, `x_test` and
            `y_test`, the layout of Keras' own `mnist.npz`: images of integers from 0 to 255.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: an unknown name; a file that is missing, damaged or of another layout; labels
            out of range; a download that fails.

    Example:

    >>> load("mnist", data_dir="data").x_train.shape
    (60000, 28, 28, 1)
    """
    if name not in DATASETS:
        raise ValueError(f"`name` must be one of {', '.join(DATASETS)}. Received: name={name!r}")
    if name == "digits":
        if data_dir:
            raise ValueError("`digits` comes with scikit-learn: leave `data_dir` away.")
        arrays = _digits()
    elif data_dir:
        arrays = _read(pathlib.Path(data_dir) / f"{name}.npz")
    else:
        arrays = _download(name)
    return _normalised(name, _checked(name, arrays))


def _digits():
    from sklearn.datasets import load_digits  # slow, and only needed here

    digits = load_digits()
    test = np.arange(len(digits.target)) % 5 == 4
    images = digits.images * (255 / 16)
    return images[~test], digits.target[~test], images[test], digits.target[test]


def _read(path):
    if not path.exists():
        raise ValueError(f"There is no file {path}: put it there or name its folder.")
    try:
        arrays = read_arrays(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a data set: {error}") from error
    found = arrays if isinstance(arrays, dict) else {}
    missing = [key for key in _KEYS if key not in found]
    if missing:
        raise ValueError(f"{path} cannot be read as a data set: it has no {', '.join(missing)}")
    return tuple(found[key] for key in _KEYS)


def _download(name):
    try:
        train, test = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises errors of any kind for a failed download.
        raise ValueError(
            f"Keras could not download {name} ({error}). Without a network, give a folder that "
            f"holds {name}.npz as `data_dir`."
        ) from error
    return *train, *test


def _checked(name, arrays):
    x_train, y_train, x_test, y_test = arrays
    return *_checked_part(name, "train", x_train, y_train), *_checked_part(
        name, "test", x_test, y_test
    )


def _checked_part(name, part, x, y):
    """Images as (n, h, w, c) and labels as (n,); a ValueError says what is wrong."""
    shape, classes = DATASETS[name]
    # The labels of CIFAR are a column; the images of MNIST have no channel axis.
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    layouts = (shape, shape[:2]) if shape[-1] == 1 else (shape,)
    if x.shape[1:] not in layouts:
        raise ValueError(
            f"x_{part} of {name} must hold images of shape {shape}. Received: {x.shape[1:]}"
        )
    if labels.shape != x.shape[:1] or not len(labels):
        raise ValueError(
            f"y_{part} of {name} must hold one label for each of the {len(x)} images, and at "
            f"least one. Received: shape {y.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"y_{part} of {name} must hold integers from 0 to {classes - 1}. "
            f"Received: {labels.dtype} from {labels.min()} to {labels.max()}"
        )
    if not np.issubdtype(x.dtype, np.integer) and not np.issubdtype(x.dtype, np.floating):
        raise ValueError(f"x_{part} of {name} must hold real numbers. Received: {x.dtype}")
    # Larger values could become infinite in the normalisation in float32.
    if not np.isfinite(x).all() or max(-float(x.min()), float(x.max())) > _LARGEST:
        raise ValueError(
            f"x_{part} of {name} must hold finite numbers, of at most {_LARGEST:.0e}. Received: "
            f"{x.dtype} from {x.min()} to {x.max()}"
        )
    return x.reshape(-1, *shape), labels.astype("int32")


def _normalised(name, arrays):
    x_train, y_train, x_test, y_test = arrays
    mean = x_train.mean(axis=(0, 1, 2), dtype="float64")
    std = x_train.std(axis=(0, 1, 2), dtype="float64")
    mean, std = mean.astype("float32"), np.maximum(std, 1e-6).astype("float32")
    x_train, x_test = ((x.astype("float32") - mean) / std for x in (x_train, x_test))
    return Dataset(name, x_train, y_train, x_test, y_test, DATASETS[name][1])
