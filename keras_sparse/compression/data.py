"""Turns the user's data into arguments of `fit` and `evaluate`."""

import hashlib
import itertools
import math

import keras
import numpy as np

from keras_sparse.epochs import epoch_of, is_endless

# Names of the settings of `data_hashes`.
HASHES = ("hash_of_x", "hash_of_y", "hash_of_sample_weight")
# Number of samples of each array in a hash.
_HASHED = 64


def is_arrays(data):
    """Whether data are arrays `(x, y)` or `(x, y, sample_weight)`, not a data set of batches."""
    return isinstance(data, (tuple, list)) and 1 < len(data) < 4 and not _is_list_of_batches(data)


def _is_list_of_batches(data):
    """Whether data are a list of tuples `(x, y)` or `(x, y, sample_weight)`."""
    return isinstance(data, list) and all(
        isinstance(batch, tuple) and 1 < len(batch) < 4 for batch in data
    )


def count(data):
    """Number of samples of arrays; None for a data set."""
    return len(keras.tree.flatten(data[0])[0]) if is_arrays(data) else None


def data_sizes(data):
    """Shapes of arrays, or the number of batches of a data set; None if it is not known."""
    if is_arrays(data):
        return [list(np.shape(array)) for array in keras.tree.flatten(data)]
    try:
        return len(data)
    except TypeError:
        return None


def data_hashes(data):
    """A hash of a few samples of x, of y and of the sample weights of arrays.

    Returns:
        A dict of strings; None for arrays that are not given, and for a data set, because its
        batches may be augmented and cost time.
    """
    sides = data if is_arrays(data) else ()
    if sides:
        chosen = np.linspace(0, count(data) - 1, _HASHED).astype(int)
        sides = take(data, np.unique(chosen))
    hashes = [_hash(keras.tree.flatten(side)) for side in sides]
    return dict(itertools.zip_longest(HASHES, hashes))


def _hash(arrays):
    digest = hashlib.sha256()
    for array in arrays:
        # Objects have no bytes of their own.
        digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())
    return digest.hexdigest()[:16]


def has_sample_weights(data):
    """Whether data have sample weights; False if that needs reading a whole data set."""
    if is_arrays(data):
        return len(data) == 3
    if isinstance(data, (list, keras.utils.PyDataset)):
        return len(data[0]) == 3
    spec = getattr(data, "element_spec", None)
    return isinstance(spec, tuple) and len(spec) == 3


def arguments(data, batch_size):
    """The arguments of `fit` or `evaluate`.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays in the model's structure; or a
            `tf.data.Dataset`, `keras.utils.PyDataset`, list or other iterable of batches.
        batch_size: int, for arrays.

    Returns:
        A dict.
    """
    if is_arrays(data):
        names = ("x", "y", "sample_weight")
        return dict(zip(names, data, strict=False)) | {"batch_size": batch_size}
    return {"x": _data_set(data)}


def first_batches(data, batches, batch_size):
    """The arguments of `fit` for the first batches, which are the same in each use of the result.

    Arrays may be sorted by label, so samples are drawn at random, with a fixed seed. Batches of a
    data set are kept in memory, because the data set may shuffle, or give its batches only once.

    Raises:
        ValueError: the data set has no batches.
    """
    if is_arrays(data):
        rng = np.random.default_rng(0)
        taken = take(data, rng.permutation(count(data))[: batches * batch_size])
        return arguments(taken, batch_size)
    if hasattr(data, "element_spec"):
        kept = data.take(batches).cache()
        found = sum(1 for _ in kept)
    else:
        kept = _Listed(itertools.islice(epoch_of(data), batches))
        found = len(kept)
    if not found:
        raise ValueError(
            f"`data` must hold at least one batch. Received: a {type(data).__name__} without any, "
            "or one that was read before."
        )
    return {"x": kept}


def first_batch(data):
    """The first batch of a data set, `(x, y)` or `(x, y, sample_weight)` of arrays.

    Args:
        data: a `tf.data.Dataset`, `keras.utils.PyDataset` or list of batches.

    Returns:
        Whatever the data set gives as a batch; None if it may not be read twice, or has tensors
        that are no arrays, such as sparse ones.
    """
    if hasattr(data, "element_spec"):
        batch = next(iter(data.take(1)), None)
    elif isinstance(data, (list, keras.utils.PyDataset)):
        batch = data[0]
    else:
        return None
    leaves = keras.tree.flatten(batch)
    if any(hasattr(leaf, "shape") and not hasattr(leaf, "__array__") for leaf in leaves):
        return None
    return keras.tree.map_structure(
        lambda leaf: np.asarray(leaf) if hasattr(leaf, "__array__") else leaf, batch
    )


class FirstKept:
    """An iterator that gives its first batches again each time it is read.

    Args:
        data: an iterator of batches.
        batches: int, the number of batches to keep.
    """

    def __init__(self, data, batches):
        self._data = data
        self._count = batches
        self._kept = []

    def __iter__(self):
        yield from list(self._kept)
        for batch in self._data:
            if len(self._kept) < self._count:
                self._kept.append(batch)
            yield batch


def _data_set(data):
    """Wraps a list of batches: `fit` would read it as a list of inputs."""
    return _Listed(data) if isinstance(data, list) else data


class _Listed(keras.utils.PyDataset):
    """Batches in memory: Keras would warn about an iterator that ran out of data."""

    def __init__(self, batches):
        super().__init__()
        self._batches = list(batches)

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return _as_in_fit(self._batches[index])


def training_arguments(data, batch_size, first_epoch):
    """The arguments of `fit` for a training that starts or continues at an epoch.

    Arrays are shuffled by epoch. An infinite data set, such as `keras_sparse.data.Batches`, starts
    at the batches of that epoch. `fit` itself must not shuffle, because its order does not depend
    on the epoch only.

    Args:
        data, batch_size: see `compress`.
        first_epoch: int, counted from the start of the training.

    Returns:
        A dict.
    """
    data = ShuffledEpochs(data, batch_size) if is_arrays(data) else _data_set(data)
    if not is_endless(data):
        return {"x": data, "shuffle": False}
    if hasattr(data, "from_epoch"):
        data = data.from_epoch(data.first_epoch + first_epoch)
    return {"x": data, "shuffle": False, "steps_per_epoch": len(data)}


class ShuffledEpochs(keras.utils.PyDataset):
    """Batches of arrays, epoch after epoch, in an order that depends on the epoch only.

    So a resumed training gets the same batches as an uninterrupted one.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)` of arrays in any structure.
        batch_size: int.
        first_epoch: int, the epoch of the first batch.
    """

    def __init__(self, data, batch_size, first_epoch=0):
        super().__init__()
        self._data = data
        self._size = batch_size
        self.first_epoch = first_epoch

    def from_epoch(self, epoch):
        """The same batches from another epoch on."""
        return ShuffledEpochs(self._data, self._size, epoch)

    def __len__(self):
        """Number of batches of an epoch."""
        return math.ceil(count(self._data) / self._size)

    @property
    def num_batches(self):
        """None: the data set is infinite, and the index of a batch gives its epoch."""
        return None

    def __getitem__(self, index):
        """Batch `index`, counted from the start of the first epoch."""
        epoch, step = divmod(index, len(self))
        order = np.random.default_rng([0, self.first_epoch + epoch]).permutation(count(self._data))
        chosen = order[step * self._size : (step + 1) * self._size]
        return _as_in_fit(take(self._data, chosen))


def _as_in_fit(batch):
    """A batch with tuples for lists: TensorFlow makes a tensor of a list."""
    return keras.tree.lists_to_tuples(batch)


def take(data, indices):
    """The samples of arrays `(x, y, ...)` at some indices."""
    return tuple(
        keras.tree.map_structure(lambda array: np.asarray(array)[indices], side) for side in data
    )
