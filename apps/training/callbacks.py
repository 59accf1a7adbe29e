"""From flags to what watches and steers the training."""

import keras

import keras_sparse
from apps.tables.training import Run
from apps.training.choices import check
from apps.training.methods import mask_steps, retrain_epochs, steps_per_execution
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


# Are in history.csv, but not of the progress bar.
_QUIET = ("zero_channels_gap", "grown", "pruned", "peak_memory_mib")


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, without the figures of single layers and those that need a word."""

    def on_epoch_end(self, epoch, logs=None):
        """Show the epoch's totals."""
        logs = {k: v for k, v in (logs or {}).items() if "/" not in k and k not in _QUIET}
        super().on_epoch_end(epoch, logs)


def callbacks(values, task, log_dir):
    """The callbacks that the flags ask for, in the order in which they are called.

    Args:
        values: the `FlagValues`.
        task: what `tasks.load` returns.
        log_dir: folder for TensorBoard, or None.

    Returns:
        A list of callbacks.

    Raises:
        ValueError: steps at a time that would jump over a change of the masks.
    """
    found = [_zero_channels(values, task, log_dir), keras_sparse.callbacks.SparsityLogger()]
    found.append(keras_sparse.callbacks.Throughput(task.images_per_epoch(values)))
    retrain = retrain_epochs(values)
    if retrain:
        start = values.epochs - retrain
        found.append(keras_sparse.callbacks.AdaptiveSparseRetraining(start))
    if values.update_masks == "callback":
        found.append(_mask_update(values, task))
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


def _mask_update(values, task):
    steps = task.steps_per_epoch(values)
    every = mask_steps(values, Run(values.seed, values.epochs, steps))
    together = steps_per_execution(values, steps)
    divides = every == "epoch" or every % together == 0
    wanted = f"a divisor of --update_every, here {together} of the {steps} steps of an epoch,"
    check(divides, "steps_per_execution", wanted, values)
    return keras_sparse.callbacks.MaskUpdate(every)
