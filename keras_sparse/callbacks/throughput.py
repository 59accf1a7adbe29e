"""Throughput and peak memory of training."""

import sys
import time

import keras

from keras_sparse.validation import check_integer


class Throughput(keras.callbacks.Callback):
    """Logs images per second and peak memory at the end of each epoch.

    It writes to the epoch's `logs`: `images_per_second`, of the training steps only (in the first
    epoch including compilation); and `peak_memory_mib`, the peak since the start of the process.
    This is the memory allocated on the first GPU or, without a GPU, the memory of the process, if
    it is known.

    Args:
        images: int, how many images an epoch has.

    Raises:
        ValueError: `images` is no positive integer.

    Example:

    >>> model.fit(x, y, callbacks=[Throughput(len(x)), keras.callbacks.CSVLogger("log.csv")])
    """

    def __init__(self, images):
        super().__init__()
        self._images = check_integer("images", images, "[1, inf)")

    def on_epoch_begin(self, epoch, logs=None):
        self._seconds = None
        self._start = time.perf_counter()

    def on_test_begin(self, logs=None):
        """Stop the clock: validation begins."""
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        self._stop()
        if logs is not None:
            logs["images_per_second"] = self._images / self._seconds
            memory = peak_memory()
            if memory is not None:
                logs["peak_memory_mib"] = memory / 2**20

    def _stop(self):
        if self._seconds is None:
            # The device may be behind the host.
            keras.ops.convert_to_numpy(self.model.optimizer.iterations)
            self._seconds = time.perf_counter() - self._start


def peak_memory():
    """Peak memory in bytes of the first GPU or, without one, of the process; None if unknown."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    if keras.backend.backend() == "jax":
        import jax

        found = jax.local_devices()[0].memory_stats()
        if found:
            return found["peak_bytes_in_use"]
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
