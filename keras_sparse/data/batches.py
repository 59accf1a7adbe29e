"""Batches of images in memory, in an order given by the seed and the epoch."""

import concurrent.futures
import functools
import math
import os
import threading

import keras
import numpy as np

from keras_sparse.data.augmentation import taken
from keras_sparse.validation import check_integer

# Number of batches to prepare in the background, so that the next one is always ready.
_AHEAD = 8
_THREADS = 4


class Batches(keras.utils.PyDataset):
    """Shuffled, augmented batches for `model.fit`, one epoch after the other without end.

    Epoch e has every image once, in an order that depends only on `seed` and e; the random numbers
    of `augment` depend only on `seed`, the epoch and the step. So a training that is resumed with
    `first_epoch=e` gets the same batches as an uninterrupted one, on every backend. The next
    batches are made by a few threads in the background.

    If `batch_size` does not divide the number of images, the last batch of an epoch is smaller, as
    in the papers' recipes, and XLA compiles a step once more for it. With
    `keras.distribution.DataParallel`, the number of devices must divide both batch sizes; this is
    checked when a distribution is set.

    Give Keras the length of an epoch: `steps_per_epoch=len(batches)`. Keras runs
    `steps_per_execution` steps at a time, even across the end of an epoch. If this number does not
    divide `len(batches)`, the epochs of Keras and of the batches drift apart; see
    `steps_per_execution`.

    Images that fit into the memory of an accelerator can stay there, on JAX: give them as tensors,
    `keras.ops.convert_to_tensor(x)`. Batches are then gathered, and cropped by `crop_and_flip`, on
    the device, with the same bits.

    Args:
        x: array or tensor of shape `(images, ...)`.
        y: array or tensor of shape `(images, ...)`, the targets.
        batch_size: int, images a step.
        seed: int, 0 or more.
        augment: function of a batch of images and a `numpy.random.Generator` that returns the
            augmented batch, such as `crop_and_flip`; several threads call it. None: no
            augmentation.
        first_epoch: int, the epoch at which to start.

    Raises:
        ValueError: sizes that do not match or are too small.

    Example:

    >>> task = load("cifar10", data_dir="data")
    >>> batches = Batches(task.x_train, task.y_train, 128, augment=crop_and_flip)
    >>> model.fit(batches, steps_per_epoch=len(batches), epochs=200, shuffle=False)

    To continue after epoch 120, `Batches(..., first_epoch=120)` or `batches.from_epoch(120)`, and
    `fit(..., initial_epoch=120)`.
    """

    def __init__(self, x, y, batch_size, seed=0, augment=None, first_epoch=0):
        super().__init__()
        x, y = (np.asarray(part) if isinstance(part, (list, tuple)) else part for part in (x, y))
        if len(x) != len(y) or not len(x):
            raise ValueError(
                "`x` and `y` must hold as many images as targets, and at least one. Received: "
                f"{len(x)} and {len(y)}"
            )
        self.batch_size = check_integer("batch_size", batch_size, "[1, inf)")
        self.seed = check_integer("seed", seed, "[0, inf)")
        self.first_epoch = check_integer("first_epoch", first_epoch, "[0, inf)")
        self._x, self._y, self._augment = x, y, augment
        self._pool = concurrent.futures.ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1))
        self._lock = threading.Lock()
        self._pending = {}
        self._check_devices()

    def __len__(self):
        """Steps of an epoch."""
        return math.ceil(len(self._x) / self.batch_size)

    @property
    def num_batches(self):
        """None: the stream has no end.

        With an end, Keras would start the next epoch before it ends the current one, and would read
        the first batches to inspect them.
        """
        return None

    def __getitem__(self, index):
        """The batch of step `index`, counted from the start of `first_epoch`."""
        with self._lock:
            # If batches were requested in another order, as when Keras inspects the first batches,
            # keep only those that are still ahead.
            self._pending = {
                i: self._pending.get(i) or self._pool.submit(self._batch, i)
                for i in range(index, index + _AHEAD + 1)
            }
            batch = self._pending.pop(index)
        return batch.result()

    def from_epoch(self, epoch):
        """The same batches, starting at another epoch.

        Args:
            epoch: int, the `first_epoch` of the result.

        Returns:
            A `Batches` over the same arrays, with the same seed and augmentation.
        """
        return Batches(self._x, self._y, self.batch_size, self.seed, self._augment, epoch)

    def steps_per_execution(self, most=20):
        """The largest number up to `most` that divides the steps of an epoch.

        For `model.compile(steps_per_execution=...)`, which saves time on small networks.
        """
        return max(n for n in range(1, most + 1) if len(self) % n == 0)

    def _batch(self, index):
        epoch, step = divmod(index, len(self))
        epoch += self.first_epoch
        start = step * self.batch_size
        chosen = _order(self.seed, epoch, len(self._x))[start : start + self.batch_size]
        x, y = taken(self._x, chosen), taken(self._y, chosen)
        if self._augment:
            # The step is a separate key, because a 0 after seed and epoch would be ignored.
            source = np.random.SeedSequence([self.seed, epoch], spawn_key=(step,))
            x = self._augment(x, np.random.default_rng(source))
        return x, y

    def _check_devices(self):
        distribution = keras.distribution.distribution()
        if not isinstance(distribution, keras.distribution.DataParallel):
            return
        devices = math.prod(distribution.device_mesh.shape)
        last = len(self._x) % self.batch_size
        if self.batch_size % devices or last % devices:
            raise ValueError(
                f"`batch_size` must leave batches that {devices} devices can share. Received: "
                f"batch_size={self.batch_size}, of which {len(self._x)} images leave a last batch "
                f"of {last}"
            )


@functools.lru_cache(maxsize=4)
def _order(seed, epoch, count):
    return np.random.default_rng([seed, epoch]).permutation(count)
