"""A training: from its configuration to its files."""

import dataclasses

import keras

from apps import program
from apps.training import loop, outputs, strategies, tasks
from apps.training.baseline import dense_config
from apps.training.config import TrainConfig
from apps.training.missed_targets import missed_targets
from apps.training.networks import network
from apps.training.parts import TENSORBOARD
from apps.training.watching import Progress, watching
from export import run_folder
from keras_sparse.callbacks import TerminateOnDeadNetwork


@dataclasses.dataclass(frozen=True)
class Training:
    """A training that `prepare` made.

    Attributes:
        config: the `TrainConfig`.
        strategy: the `Strategy`.
        task: the `InMemory` or `Streamed` one.
        loop: the `Loop`, with the model and the callbacks.
    """

    config: TrainConfig
    strategy: strategies.Strategy
    task: tasks.InMemory | tasks.Streamed
    loop: loop.Loop

    @property
    def model(self):
        """The network, compiled."""
        return self.loop.model

    @property
    def callbacks(self):
        """The list of the run's callbacks, to which more may be added."""
        return self.loop.callbacks

    def run(self, command):
        """Train, then write the files.

        Args:
            command: the command line of the program, for the report.

        Raises:
            UsageError: the network died.
        """
        self._check_resumed()
        with missed_targets() as missed:
            history = self._fit()
        if self.strategy.is_chief:
            self._check_alive()
            outputs.write_masks(self.callbacks, outputs.folder(self.config) / "masks.npz")
        dense = self._dense()
        if self.strategy.is_chief:
            told = {"command": command, **({"missed_target": missed[0]} if missed else {})}
            outputs.write(self._plain_model(), history, self.task, self.config, told, dense)

    def _fit(self):
        return self.loop.fit(verbose="auto" if self.strategy.is_chief else 0)

    def _dense(self):
        """The baseline and its history, or None."""
        config = dense_config(self.config)
        if config is None:
            return None
        if self.strategy.is_chief:
            print(
                f"Training the same network dense, with {config.optimizer.flag}, to compare with "
                "(--nobaseline omits this)",
                flush=True,
            )
        training = _training(config, self.strategy, self.task, "dense_")
        history = training._fit()
        return training._plain_model(), history

    def _check_resumed(self):
        """Raise a UsageError if the network of the checkpoint is dead already."""
        epoch = self.loop.first_epoch - 1
        if epoch < 0:
            return
        for callback in self.callbacks:
            if isinstance(callback, TerminateOnDeadNetwork):
                callback.set_model(self.model)
                callback.on_epoch_end(epoch)
        self._check_alive()

    def _check_alive(self):
        for callback in self.callbacks:
            epoch = getattr(callback, "died_in_epoch", None)
            if epoch is not None:
                raise program.UsageError(
                    f"The network died in epoch {epoch + 1}: its output is the same for every "
                    "image, or not finite. Lower --l1, --l2, --learning_rate or --target_sparsity, "
                    "raise --density or --init_scale, or continue regardless by --nostop_when_dead."
                )

    def _plain_model(self):
        """The trained network in float32 and on one device."""
        settings = self.config.training
        if not (settings.strategy or settings.mixed_precision):
            return self.model
        keras.distribution.set_distribution(None)
        model = network(self.task, self.config.network, settings.seed)
        model.set_weights(self.model.get_weights())
        return model


def prepare(config):
    """Check what needs Keras, load the data, and make the network and the folder.

    Args:
        config: the `TrainConfig`.

    Returns:
        A `Training`.

    Raises:
        ValueError: settings, data or folder do not fit.
    """
    strategy = strategies.use(config.training)
    outputs.check(config)
    task = tasks.load(config.data, strategy.divides)
    return _training(config, strategy, task)


def _training(config, strategy, task, prefix=""):
    """A `Training`; `prefix` is the prefix of its files."""
    folder, is_chief = outputs.folder(config), strategy.is_chief
    log_dir = folder / TENSORBOARD if config.watching.tensorboard and is_chief else None
    with strategy.scope():
        model = loop.compiled(task, config)
        strategy.adapt(model, task.samples)
        watches = watching(config.watching, task, config.training.batch_size, log_dir)
        if is_chief:
            run_folder.prepare(folder)
        checkpoint = folder / f"{prefix}checkpoint" if config.training.resume else None
        found = loop.Loop(model, task, config, watches, checkpoint, writes=is_chief)
    if is_chief:
        if not (prefix or found.first_epoch):
            outputs.remove_earlier(folder)
        found.callbacks.append(outputs.HistoryWriter(folder / f"{prefix}history.csv"))
        found.callbacks.append(Progress())
    return Training(config, strategy, task, found)
