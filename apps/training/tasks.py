"""From flags to the images that are trained, validated and tested on."""

import dataclasses
import functools
import pathlib

import numpy as np

from apps.training.choices import check
from keras_sparse import data

_SAMPLES = 200
# Of a data set that does not fit into memory, what the written files are compared on.
_TESTED = 1000


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A classification task in memory.

    Attributes:
        dataset: the `keras_sparse.data.Dataset` that is trained and validated on.
        test: `(images, labels)` that the trained network is judged on.
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
        """A few `(images, labels)` of those that are trained on."""
        return self.dataset.x_train[:_SAMPLES], self.dataset.y_train[:_SAMPLES]

    def steps_per_epoch(self, values):
        """Batches in an epoch."""
        return -(-len(self.dataset.x_train) // values.batch_size)

    def images_per_epoch(self, values):
        """Images that an epoch trains on."""
        return len(self.dataset.x_train)

    def arguments(self, values, first_epoch):
        """Of `model.fit`: what is trained on, in which order, and what is validated on."""
        dataset = self.dataset
        validation = {
            "validation_data": (dataset.x_test, dataset.y_test),
            "validation_batch_size": values.batch_size,
        }
        if not (values.augment or values.resume or values.strategy):
            x, y = dataset.x_train, dataset.y_train
            return {"x": x, "y": y, "batch_size": values.batch_size, **validation}
        # Keras' own order goes on from where it is, which a resumed training does not know.
        batches = data.Batches(
            dataset.x_train,
            dataset.y_train,
            values.batch_size,
            seed=values.seed,
            augment=data.crop_and_flip if values.augment else None,
            first_epoch=first_epoch,
        )
        return {"x": batches, "steps_per_epoch": len(batches), "shuffle": False, **validation}


@dataclasses.dataclass(frozen=True)
class Streamed:
    """A classification task whose images are read while they are needed.

    Attributes:
        images: a `keras_sparse.data` stream.
        tested: int, how many images the trained network is judged on.
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
        """A few `(images, labels)` of those that are trained on."""
        count = min(_SAMPLES, self.images.train_images)
        return next(self.images.train(count).as_numpy_iterator())

    @functools.cached_property
    def test(self):
        """`(images, labels)` that the trained network is judged on."""
        batches = self.images.test(1).take(self.tested).as_numpy_iterator()
        return tuple(np.concatenate(part) for part in zip(*batches, strict=True))

    def steps_per_epoch(self, values):
        """Batches in an epoch."""
        return self.images.steps_per_epoch(values.batch_size)

    def images_per_epoch(self, values):
        """Images that an epoch trains on."""
        return values.batch_size * self.steps_per_epoch(values)

    def arguments(self, values, first_epoch):
        """Of `model.fit`: what is trained on, in which order, and what is validated on."""
        return {
            "x": self.images.train(values.batch_size, values.seed, first_epoch),
            "steps_per_epoch": self.steps_per_epoch(values),
            "shuffle": False,
            "validation_data": self.images.test(values.batch_size),
        }


def load(values, devices=1):
    """The task that the flags describe.

    Args:
        values: the `FlagValues`.
        devices: int, by which the number of validated images must be divisible.

    Returns:
        An `InMemory` or a `Streamed`.

    Raises:
        ValueError: data that are not there, or fewer than the flags ask for.
    """
    if values.dataset == "imagenet":
        return _streamed(values)
    dataset = data.load(values.dataset, values.data_dir)
    test = tuple(_first(part, "test_images", values) for part in (dataset.x_test, dataset.y_test))
    validated = test
    if values.held_out:
        dataset = dataset.held_out(values.held_out)
        validated = dataset.x_test, dataset.y_test
    shared = len(validated[0]) // devices * devices
    dataset = dataclasses.replace(
        dataset,
        x_train=_first(dataset.x_train, "train_images", values),
        y_train=_first(dataset.y_train, "train_images", values),
        x_test=validated[0][:shared],
        y_test=validated[1][:shared],
    )
    return InMemory(dataset, test)


def _streamed(values):
    size = values.image_size or 224
    folder = values.data_dir and pathlib.Path(values.data_dir)
    if folder and (folder / "train").is_dir():
        images = data.ImageFolder(folder, size)
    else:
        try:
            images = data.TensorFlowDataset("imagenet2012", values.data_dir, size)
        except ImportError as error:
            raise ValueError(
                "--dataset=imagenet needs a --data_dir with train/CLASS/* and val/CLASS/*, or "
                f"TensorFlow Datasets. {error}"
            ) from error
    tested = min(_TESTED if values.test_images is None else values.test_images, images.test_images)
    return Streamed(images, tested)


def _first(array, name, values):
    count = values[name].value
    check(count is None or count <= len(array), name, f"at most {len(array)}", values)
    return array[:count]
