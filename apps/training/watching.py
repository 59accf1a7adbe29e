"""Making callbacks from the part `Watching`."""

import keras

import keras_sparse
from keras_sparse import channels

# Number of images for checking whether outputs differ.
_PROBES = 32
_CRITERIA = {
    "incoming_norm": channels.IncomingNorm,
    "batch_norm_scale": channels.BatchNormScale,
    "largest_activation": channels.LargestActivation,
    "selectivity": channels.Selectivity,
    "apoz": channels.APoZ,
}


# Logs that are in history.csv, but not in the progress bar.
_QUIET = ("zero_channels_gap", "grown", "pruned", "peak_memory_mib")


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, without the figures of single layers."""

    def on_epoch_end(self, epoch, logs=None):
        """Show the epoch's totals."""
        logs = {k: v for k, v in (logs or {}).items() if "/" not in k and k not in _QUIET}
        super().on_epoch_end(epoch, logs)


def watching(settings, task, batch_size, log_dir):
    """The callbacks, in the order in which they are called.

    Args:
        settings: the `Watching`.
        task: the result of `tasks.load`.
        batch_size: int.
        log_dir: folder for TensorBoard, or None.

    Returns:
        A list of callbacks.
    """
    found = [
        _counter(settings, task, log_dir),
        keras_sparse.callbacks.SparsityLogger(),
    ]
    found.append(keras_sparse.callbacks.Throughput(task.images_per_epoch(batch_size)))
    if settings.mask_history:
        found.append(keras_sparse.callbacks.MaskHistory())
    if settings.stop_when_dead:
        found.append(keras_sparse.callbacks.TerminateOnDeadNetwork(task.samples[0][:_PROBES]))
    if log_dir is not None:
        found.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
    return found


def _counter(settings, task, log_dir):
    threshold = settings.channel_threshold
    criterion = _CRITERIA[settings.channel_criterion](*([] if threshold is None else [threshold]))
    return keras_sparse.callbacks.DeadChannelCounter(
        criterion,
        settings.channel_epochs,
        data=task.samples[0] if criterion.needs_data else None,
        log_dir=None if log_dir is None else log_dir / "channels",
    )
