"""From flags to the images that are trained, validated and tested on."""

import dataclasses

from apps.training.choices import check
from keras_sparse import data

_SAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Task:
    """A classification task in memory.

    Attributes:
        dataset: the `keras_sparse.data.Dataset` that is trained and validated on.
        x_test, y_test: the images that the trained network is judged on.
    """

    dataset: data.Dataset
    x_test: object
    y_test: object

    @property
    def train_images(self):
        """How many images an epoch has."""
        return len(self.dataset.x_train)

    @property
    def samples(self):
        """A few training images."""
        return self.dataset.x_train[:_SAMPLES]

    def steps_per_epoch(self, values):
        """Batches in an epoch."""
        return -(-self.train_images // values.batch_size)

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
        return {
            "x": batches,
            "steps_per_epoch": len(batches),
            "shuffle": False,
            **validation,
        }


def load(values, devices=1):
    """The task that the flags describe.

    Args:
        values: the `FlagValues`.
        devices: int, by which the number of validated images must be divisible.

    Returns:
        A `Task`.

    Raises:
        ValueError: data that are not there, or fewer than the flags ask for.
    """
    dataset = data.load(values.dataset, values.data_dir)
    if values.augment:
        check(dataset.input_shape[-1] == 3, "augment", "left away for images in grey", values)
    x_test, y_test = (
        _first(part, "test_images", values) for part in (dataset.x_test, dataset.y_test)
    )
    if values.held_out:
        dataset = dataset.held_out(values.held_out)
    else:
        dataset = dataclasses.replace(dataset, x_test=x_test, y_test=y_test)
    shared = len(dataset.x_test) // devices * devices
    dataset = dataclasses.replace(
        dataset,
        x_train=_first(dataset.x_train, "train_images", values),
        y_train=_first(dataset.y_train, "train_images", values),
        x_test=dataset.x_test[:shared],
        y_test=dataset.y_test[:shared],
    )
    return Task(dataset, x_test, y_test)


def _first(array, name, values):
    count = values[name].value
    check(count is None or count <= len(array), name, f"at most {len(array)}", values)
    return array[:count]
