"""A callback that counts dead channels."""

import json
import pathlib
import warnings

import keras

from keras_sparse.callbacks.channel_events import ChannelEvents
from keras_sparse.channels.adam import (
    alpha_lambda_over_epsilon,
    largest_l2,
    settling_limit,
)
from keras_sparse.channels.criteria import ChannelCriterion, IncomingNorm
from keras_sparse.channels.dead import DeadChannels
from keras_sparse.channels.record import EpochRecord
from keras_sparse.files import check_folder, replacing
from keras_sparse.loss_scaling import bare_optimizer

_ADAPTIVE = (
    keras.optimizers.Adam,
    keras.optimizers.Adamax,
    keras.optimizers.Nadam,
    keras.optimizers.RMSprop,
)

# File in `log_dir`, next to TensorBoard's files.
_STATE = "zero_channels.json"


class DeadChannelCounter(keras.callbacks.Callback):
    """Counts, at the end of each epoch, the channels that have died.

    By default a channel is dead if the 2-norm of its incoming weights (without biases) is below a
    threshold. RDA leaves exact zeros. Adam with an L2 regularizer leaves norms of about 1e-20;
    norms of live channels are many orders of magnitude larger.

    It writes to the epoch's `logs`, which the history, the progress bar and later callbacks read:
    `zero_channels`, the sum over all layers; `zero_channels/LAYER`; `zero_channels_gap`, the number
    of decades between the largest score of a dead channel and the smallest score of a live one. A
    wide gap means a safe threshold. It is infinite if all dead scores are exactly zero, and nan if
    no channel is dead. With Adam and L2 it also writes `alpha_lambda_over_epsilon`.

    It gives each of these warnings once: all channels of a layer are dead; Adam or one of its
    variants has `weight_decay` and no weight has an L2 regularizer, because decoupled decay makes
    no channel die; `alpha_lambda_over_epsilon` is above `settling_limit` (38), because the weights
    of dead channels then grow again in bursts.

    Args:
        criterion: a `ChannelCriterion`, or a float: the threshold of `IncomingNorm`. Defaults to
            `IncomingNorm()`.
        epochs: int, how many epochs in a row a channel must be dead to be counted. Defaults to 1. A
            second call of `fit` continues the count. Another process continues it with `log_dir` or
            `set_state`.
        data: for criteria that need it; see `channels.activations`.
        log_dir: folder for TensorBoard: the histogram of the scores of each layer, and the counts.
            Needs the package tensorboard, not TensorFlow. The count of epochs in a row is saved
            there as well, and an interrupted training that resumes at the next epoch
            (`keras.callbacks.BackupAndRestore`, `initial_epoch`) continues it. Defaults to None,
            no files.

    Attributes:
        record: list of `EpochRecord`, one for each epoch; see `analysis.plot_channel_scores` and
            `analysis.plot_dead_channels`.
        dead_channels: the `DeadChannels` that counts.

    Raises:
        ValueError: an argument out of its range; a criterion without the data that it needs.

    Example:

    >>> counter = DeadChannelCounter(epochs=3, log_dir="logs/channels")
    >>> history = model.fit(x, y, callbacks=[counter])
    >>> history.history["zero_channels"]
    >>> analysis.plot_channel_scores(counter.record).savefig("channels.png")

    Reference:
        On implicit filter level sparsity in convolutional neural networks, arXiv 1811.12495,
        section 3; Adam induces implicit weight sparsity in rectifier networks, arXiv 1812.08119.
    """

    def __init__(self, criterion=None, epochs=1, data=None, log_dir=None):
        super().__init__()
        if criterion is not None and not isinstance(criterion, ChannelCriterion):
            criterion = IncomingNorm(criterion)
        self.dead_channels = DeadChannels(criterion, epochs)
        criterion = self.dead_channels.criterion
        if criterion.needs_data and data is None:
            raise ValueError(f"{criterion!r} needs `data`. Received: data=None")
        if log_dir is not None:
            check_folder("log_dir", log_dir)
        self.record = []
        self._data = data
        self._log_dir = log_dir

    def on_train_begin(self, logs=None):
        """Reset the warnings of an earlier training, and check the optimizer."""
        self._warned = set()
        self._events = None if self._log_dir is None else ChannelEvents(self._log_dir)
        self._warn_of_decoupled_decay()
        self._warn_of_bursts(alpha_lambda_over_epsilon(self.model))

    def get_state(self):
        """How long each channel has been dead, JSON-serializable; see `set_state`."""
        return self.dead_channels.get_state()

    def set_state(self, state):
        """Continue from a state that `get_state` returned, also in another process.

        `record` is not restored: it has only the epochs that this object has counted.

        Example:

        >>> path.write_text(json.dumps(counter.get_state()))
        >>> counter = DeadChannelCounter(epochs=3)  # in another process
        >>> counter.set_state(json.loads(path.read_text()))
        >>> model.fit(x, y, initial_epoch=5, epochs=60, callbacks=[counter])
        """
        self.dead_channels.set_state(state)

    def on_epoch_begin(self, epoch, logs=None):
        """Continue the count in `log_dir` if it was saved after the previous epoch."""
        if self._log_dir is None or self.get_state() or not self._state_path().exists():
            return
        found = json.loads(self._state_path().read_text(encoding="utf-8"))
        if found["epoch"] == epoch - 1:
            self.set_state(found["state"])

    def on_epoch_end(self, epoch, logs=None):
        """Write the counts to `logs` and to `record`."""
        dead = self.dead_channels.update(self.model, self._data)
        record = EpochRecord(
            epoch,
            self.dead_channels.scores,
            dead,
            self.dead_channels.gap(),
            self.dead_channels.criterion.threshold,
            alpha_lambda_over_epsilon(self.model),
        )
        self.record.append(record)
        if self._events is not None:
            self._events.write(record)
            with replacing(self._state_path()) as path:
                state = {"epoch": epoch, "state": self.get_state()}
                path.write_text(json.dumps(state), encoding="utf-8")
        if logs is not None:
            logs.update(_figures(record))
        self._warn_of_dead_layers(dead)
        self._warn_of_bursts(record.alpha_lambda_over_epsilon)

    def on_train_end(self, logs=None):
        if self._events is not None:
            self._events.close()

    def _state_path(self):
        return pathlib.Path(self._log_dir) / _STATE

    def _warn_of_dead_layers(self, dead):
        names = {name for name, channels in dead.items() if channels.all()}
        new = [name for name in dead if name in names - self._warned]
        self._warned |= names
        if new:
            warnings.warn(
                f"All channels of {', '.join(new)} are dead by {self.dead_channels.criterion}: "
                "what they compute no longer depends on the input. Lower `l1`, `target_sparsity` "
                "or the L2 regularizer, or raise the scale of the initializer "
                "(`ScaledUniform(scale)`).",
                stacklevel=2,
            )

    def _warn_of_decoupled_decay(self):
        optimizer = bare_optimizer(self.model.optimizer)
        decays = isinstance(optimizer, _ADAPTIVE) and optimizer.weight_decay
        if decays and not largest_l2(self.model):
            warnings.warn(
                f"{type(optimizer).__name__} has weight_decay={optimizer.weight_decay} and no "
                "weight has an L2 regularizer. Decoupled decay multiplies each weight by a factor, "
                "as SGD does, and makes no channel die. Give the layers "
                "`kernel_regularizer=keras.regularizers.L2(...)` instead.",
                stacklevel=2,
            )

    def _warn_of_bursts(self, number):
        if number is None or "bursts" in self._warned or number <= settling_limit(self.model):
            return
        self._warned.add("bursts")
        optimizer = bare_optimizer(self.model.optimizer)
        warnings.warn(
            f"learning rate × λ / ε is {number:.3g}, above {settling_limit(self.model):.3g}: the "
            "weights of dead channels grow in bursts instead of converging to zero. Raise "
            f"`epsilon`, or lower the learning rate or L2. Received: epsilon={optimizer.epsilon}",
            stacklevel=2,
        )


def _figures(record):
    counts = {f"zero_channels/{name}": int(dead.sum()) for name, dead in record.dead.items()}
    figures = {"zero_channels": sum(counts.values()), **counts}
    figures["zero_channels_gap"] = record.gap.decades
    if record.alpha_lambda_over_epsilon is not None:
        figures["alpha_lambda_over_epsilon"] = record.alpha_lambda_over_epsilon
    return figures
