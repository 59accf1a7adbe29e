"""Reads data sets of batches for one epoch."""

import keras


def is_endless(data):
    """Whether a data set is infinite by its own account, as after `repeat()` of `tf.data`."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches is None
    if not hasattr(data, "cardinality"):
        return False
    # tf.data.INFINITE_CARDINALITY, without importing TensorFlow.
    return int(data.cardinality()) == -1


def epoch_of(data):
    """The batches of one epoch of a data set, as an iterator.

    Args:
        data: a `tf.data.Dataset`, `keras.utils.PyDataset`, or other iterable of batches. The epoch
            of an infinite `PyDataset` has `len(data)` batches.

    Raises:
        ValueError: an infinite data set without a length.
    """
    if not is_endless(data):
        return iter(data)
    if not hasattr(data, "__len__") or not isinstance(data, keras.utils.PyDataset):
        raise ValueError(
            f"`data` is a {type(data).__name__} without an end, so an epoch has no length. Give "
            "`data.take(n)` of a `tf.data.Dataset`, n batches for an epoch, or a `PyDataset` with "
            "`__len__`."
        )
    return map(data.__getitem__, range(len(data)))
