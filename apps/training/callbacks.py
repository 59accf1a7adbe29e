"""From flags to what watches and steers the training."""

import keras

import keras_sparse
from apps.training.choices import check
from apps.training.optimizers import mask_steps
from keras_sparse import channels

# Enough to see whether outputs differ.
_PROBES = 32
_CRITERIA = {
    "incoming_norm": channels.IncomingNorm,
    "batch_norm_scale": channels.BatchNormScale,
    "largest_activation": channels.LargestActivation,
    "selectivity": channels.Selectivity,
    "apoz": channels.APoZ,
}


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, without the figures of single layers."""

    def on_epoch_end(self, epoch, logs=None):
        """Show the epoch's totals."""
        super().on_epoch_end(epoch, {k: v for k, v in (logs or {}).items() if "/" not in k})


def callbacks(values, task, log_dir):
    """The callbacks that the flags ask for, in the order in which they are called.

    Args:
        values: the `FlagValues`.
        task: what `tasks.load` returns.
        log_dir: folder for TensorBoard, or None.

    Returns:
        A list of callbacks.

    Raises:
        ValueError: numbers that are out of range, or that do not fit together.
    """
    found = [_zero_channels(values, task, log_dir), keras_sparse.callbacks.SparsityLogger()]
    found.append(keras_sparse.callbacks.Throughput(task.images_per_epoch(values)))
    retrain = _retrain_epochs(values)
    if retrain:
        start = values.epochs - retrain
        found.append(keras_sparse.callbacks.AdaptiveSparseRetraining(start))
    if values.update_masks == "callback":
        found.append(_mask_update(values))
    if values.update_masks == "apart":
        found.append(keras_sparse.callbacks.SeparateUpdates())
    if values.mask_history:
        found.append(keras_sparse.callbacks.MaskHistory())
    if values.stop_when_dead:
        found.append(keras_sparse.callbacks.TerminateOnDeadNetwork(task.samples[0][:_PROBES]))
    if log_dir is not None:
        found.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
    return found


def _zero_channels(values, task, log_dir):
    threshold = values.channel_threshold
    criterion = _CRITERIA[values.channel_criterion](*([] if threshold is None else [threshold]))
    return keras_sparse.callbacks.ZeroChannels(
        criterion,
        values.channel_epochs,
        data=task.samples[0] if criterion.needs_data else None,
        log_dir=None if log_dir is None else log_dir / "channels",
    )


def _retrain_epochs(values):
    retrain = values.retrain_epochs
    if retrain is None:
        return values.epochs * 2 // 5 if values.optimizer == "rda" else 0
    check(retrain <= values.epochs, "retrain_epochs", "from 0 to --epochs", values)
    return retrain


def _mask_update(values):
    every = mask_steps(values)
    divides = every == "epoch" or every % values.steps_per_execution == 0
    check(divides, "steps_per_execution", "a divisor of --update_every", values)
    return keras_sparse.callbacks.MaskUpdate(every)
