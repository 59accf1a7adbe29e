"""The images of training, validation and test, from the part `Data`."""

import dataclasses
import functools
import pathlib

import keras
import numpy as np

from apps.training.settings import require
from keras_sparse import data

_SAMPLES = 200
# Number of images for comparing files, for a data set that does not fit into memory.
_TESTED = 1000
# Share of an accelerator's memory for images; the training needs the rest.
_ROOM = 0.25


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A classification task in memory.

    Attributes:
        dataset: the `keras_sparse.data.Dataset` of training and validation.
        test: `(images, labels)` to test the trained network.
    """

    dataset: data.Dataset
    test: tuple

    @property
    def input_shape(self):
        """`(height, width, channels)` of an image."""
        return self.dataset.input_shape

    @property
    def classes(self):
        """Number of classes."""
        return self.dataset.classes

    @property
    def samples(self):
        """A few `(images, labels)` of the training images."""
        return self.dataset.x_train[:_SAMPLES], self.dataset.y_train[:_SAMPLES]

    @property
    def judged(self):
        """The data set for testing the trained network."""
        return dataclasses.replace(self.dataset, x_test=self.test[0], y_test=self.test[1])

    def steps_per_epoch(self, batch_size):
        """Batches in an epoch."""
        return -(-len(self.dataset.x_train) // batch_size)

    def images_per_epoch(self, batch_size):
        """Images that an epoch trains on."""
        return len(self.dataset.x_train)

    def batches(self, config, first_epoch):
        """The batches for `fit`, in an order given by the seed and the epoch."""
        settings = config.training
        arguments = {"seed": settings.seed, "first_epoch": first_epoch}
        arrays = self.dataset.x_train, self.dataset.y_train
        if not (config.data.augment or settings.strategy) and _is_tensorflow():
            return _tensorflow_batches(*arrays, settings.batch_size, **arguments)
        augment = data.crop_and_flip if config.data.augment else None
        arrays = arrays if settings.strategy else resident(arrays)
        return data.Batches(*arrays, settings.batch_size, augment=augment, **arguments)

    def validation(self, batch_size):
        """Arguments of `fit` for the validation."""
        return {
            "validation_data": (self.dataset.x_test, self.dataset.y_test),
            "validation_batch_size": batch_size,
        }


@dataclasses.dataclass(frozen=True)
class Streamed:
    """A classification task that reads images when they are needed.

    Attributes:
        images: a `keras_sparse.data` stream.
        tested: int, number of images to test the trained network.
    """

    images: data.ImageStream
    tested: int

    @property
    def input_shape(self):
        """`(height, width, channels)` of an image."""
        return self.images.input_shape

    @property
    def classes(self):
        """Number of classes."""
        return self.images.classes

    @functools.cached_property
    def samples(self):
        """A few `(images, labels)` of the training images."""
        count = min(_SAMPLES, self.images.train_images)
        return next(self.images.train(count).as_numpy_iterator())

    @functools.cached_property
    def test(self):
        """`(images, labels)` to test the trained network."""
        batches = self.images.test(1, self.tested).as_numpy_iterator()
        return tuple(np.concatenate(part) for part in zip(*batches, strict=True))

    def steps_per_epoch(self, batch_size):
        """Batches in an epoch."""
        return self.images.steps_per_epoch(batch_size)

    def images_per_epoch(self, batch_size):
        """Images that an epoch trains on."""
        return batch_size * self.steps_per_epoch(batch_size)

    def batches(self, config, first_epoch):
        """The batches for `fit`, in an order given by the seed and the epoch."""
        settings = config.training
        return self.images.train(settings.batch_size, settings.seed, first_epoch)

    def validation(self, batch_size):
        """Arguments of `fit` for the validation."""
        return {"validation_data": self.images.test(batch_size)}


def load(settings, devices=1):
    """The task of the part `Data`.

    Args:
        settings: the `Data`.
        devices: int; the number of validation images must be divisible by it.

    Returns:
        An `InMemory` or a `Streamed`.

    Raises:
        ValueError: data that do not exist, or fewer than the settings need.
    """
    if settings.dataset == "imagenet":
        return _streamed(settings)
    dataset = data.load(settings.dataset, settings.data_dir)
    if settings.image_size:
        dataset = _enlarged(dataset, settings.image_size)
    if settings.unit_pixels:
        low, high = (edge(dataset.x_train, axis=(0, 1, 2)) for edge in (np.min, np.max))
        x_train, x_test = ((x - low) / (high - low) for x in (dataset.x_train, dataset.x_test))
        dataset = dataclasses.replace(dataset, x_train=x_train, x_test=x_test)
    test = tuple(_first(part, "test_images", settings) for part in (dataset.x_test, dataset.y_test))
    validated = test
    if settings.held_out:
        dataset = dataset.held_out(settings.held_out)
        validated = dataset.x_test, dataset.y_test
    shared = len(validated[0]) // devices * devices
    dataset = dataclasses.replace(
        dataset,
        x_train=_first(dataset.x_train, "train_images", settings),
        y_train=_first(dataset.y_train, "train_images", settings),
        x_test=validated[0][:shared],
        y_test=validated[1][:shared],
    )
    return InMemory(dataset, test)


def resident(arrays, device=None):
    """Arrays as tensors in the memory of an accelerator, if JAX has one with enough memory.

    Args:
        arrays: tuple of arrays.
        device: the accelerator, a `jax.Device`; None: the first of JAX.

    Returns:
        A tuple of tensors, or the unchanged arrays.
    """
    if device is None and keras.backend.backend() == "jax":
        import jax

        device = jax.local_devices()[0]
    if device is None or device.platform == "cpu":
        return arrays
    room = _ROOM * device.memory_stats()["bytes_limit"]
    if sum(array.nbytes for array in arrays) > room:
        return arrays
    return tuple(map(keras.ops.convert_to_tensor, arrays))


def _is_tensorflow():
    return keras.backend.backend() == "tensorflow"


def _tensorflow_batches(x, y, batch_size, seed, first_epoch):
    """The batches of `data.Batches`, made by TensorFlow: faster for small networks."""
    import tensorflow as tf

    def order(epoch):
        return np.random.default_rng([seed, epoch]).permutation(len(x))

    def chosen(epoch):
        places = tf.ensure_shape(tf.numpy_function(order, [epoch], tf.int64), [len(x)])
        return tf.data.Dataset.from_tensor_slices(places).batch(batch_size)

    with tf.device("CPU"):
        arrays = [tf.convert_to_tensor(array) for array in (x, y)]
    epochs = tf.data.Dataset.counter(first_epoch)
    batches = epochs.flat_map(chosen).map(
        lambda places: tuple(tf.gather(a, places) for a in arrays)
    )
    return batches.prefetch(tf.data.AUTOTUNE)


def _streamed(settings):
    size = settings.image_size or 224
    folder = settings.data_dir and pathlib.Path(settings.data_dir)
    if folder and (folder / "train").is_dir():
        images = data.ImageFolder(folder, size)
    else:
        try:
            images = data.TensorFlowDataset("imagenet2012", settings.data_dir, size)
        except ImportError as error:
            raise ValueError(
                "--dataset=imagenet needs a --data_dir with train/CLASS/* and val/CLASS/*, or "
                f"TensorFlow Datasets. {error}"
            ) from error
    asked = _TESTED if settings.test_images is None else settings.test_images
    return Streamed(images, min(asked, images.test_images))


def _enlarged(dataset, size):
    """The data set with images of `size` times `size` pixels, by bilinear interpolation."""
    x_train, x_test = (
        keras.ops.convert_to_numpy(keras.ops.image.resize(images, (size, size)))
        for images in (dataset.x_train, dataset.x_test)
    )
    return dataclasses.replace(dataset, x_train=x_train, x_test=x_test)


def _first(array, name, settings):
    count = getattr(settings, name)
    require(count is None or count <= len(array), name, f"at most {len(array)}", settings)
    return array[:count]
