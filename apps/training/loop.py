"""The training loop: compile a configuration, continue from a checkpoint, fit."""

import dataclasses
import time

import keras

from apps.training import earlier
from apps.training.config import OLD_NAMES
from apps.training.networks import network
from apps.training.rates import learning_rate
from keras_sparse.callbacks import EpochCheckpoint


@dataclasses.dataclass(frozen=True)
class Run:
    """The size of a training, used to make schedules.

    Attributes:
        seed: seed for the initial weights, the order of images and an optimizer's random numbers.
        epochs: passes over the data.
        steps_per_epoch: batches in a pass.
        steps_per_execution: steps at a time.
    """

    seed: int
    epochs: int
    steps_per_epoch: int
    steps_per_execution: int = 1

    @property
    def steps(self):
        """Number of steps of the whole training."""
        return self.epochs * self.steps_per_epoch


def run_of(settings, task):
    """The `Run` of the part `Training` on a task."""
    steps = task.steps_per_epoch(settings.batch_size)
    # A number that does not divide the steps of an epoch would shift the epochs.
    most = min(settings.steps_per_execution, steps)
    together = max(n for n in range(1, most + 1) if steps % n == 0)
    return Run(settings.seed, settings.epochs, steps, together)


def optimizer(config, run):
    """A new optimizer of a `TrainConfig`, for a `Run`."""
    return config.optimizer.optimizer(lambda rate: learning_rate(config.rate, rate, run), run)


def compiled(task, config):
    """The network and the optimizer of a `TrainConfig`, compiled and built.

    Args:
        task: the result of `tasks.load`.
        config: the `TrainConfig`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: settings that do not fit each other or this network.
    """
    settings = config.training
    run = run_of(settings, task)
    policy = keras.config.dtype_policy()
    if settings.mixed_precision:
        keras.config.set_dtype_policy(f"mixed_{settings.mixed_precision}")
    try:
        model = network(task, config.network, settings.seed)
    finally:
        keras.config.set_dtype_policy(policy)
    jit_compile = {"auto": "auto", "true": True, "false": False}[settings.jit_compile]
    model.compile(
        optimizer=optimizer(config, run),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        # JAX always compiles.
        jit_compile=jit_compile if keras.backend.backend() == "tensorflow" else "auto",
        steps_per_execution=run.steps_per_execution,
    )
    # Build now, so that errors with this network are raised before the first step.
    model.optimizer.build(model.trainable_variables)
    return model


class _Checkpoint(EpochCheckpoint):
    """Writes checkpoints with a minimum time in between, for short epochs."""

    def __init__(self, folder, callbacks, settings, writes, seconds, steps):
        super().__init__(folder, callbacks, settings, writes)
        self._steps = steps
        self._may_write, self._seconds = writes, seconds
        self._saved = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        """Save the epoch if it is time; the last one always."""
        due = time.monotonic() - self._saved >= self._seconds
        self._writes = self._may_write and (due or epoch + 1 == self.params["epochs"])
        super().on_epoch_end(epoch, logs)
        if self._writes:
            self._saved = time.monotonic()

    def _check(self, found):
        if "version" in found:
            super()._check({OLD_NAMES.get(name, name): v for name, v in found.items()})
            return
        super()._check(earlier.settings(found, self._steps))
        print("An earlier version started this run. The images now come in another order.")


class Loop:
    """A training that is ready to start, or to continue.

    Args:
        model: the model, compiled.
        task: the result of `tasks.load`.
        config: the `TrainConfig`.
        callbacks: list of callbacks, besides those of the optimizer.
        checkpoint: folder of the checkpoint, or None for none.
        seconds: float, minimum time between two checkpoints; the last epoch always has one.
        writes: bool; False for a worker that only reads.

    Attributes:
        model: the model.
        callbacks: list of all callbacks, to which more may be added.
        first_epoch: int, the first epoch to train.

    Raises:
        ValueError: a checkpoint of other settings.
    """

    def __init__(
        self, model, task, config, callbacks=(), checkpoint=None, seconds=0.0, writes=True
    ):
        self.model, self._task, self._config = model, task, config
        run = run_of(config.training, task)
        of_method = config.optimizer.callbacks(run)
        self.callbacks = [*callbacks, *of_method]
        self.first_epoch = 0
        if checkpoint is None:
            self.callbacks.append(keras.callbacks.History())
            return
        found = _Checkpoint(checkpoint, self.callbacks, config.settings, writes, seconds, run.steps)
        self.callbacks.append(found)
        self.first_epoch = found.restore(model)

    def fit(self, validates=True, verbose="auto"):
        """Train the remaining epochs; returns the history, `{name: values by epoch}`."""
        settings = self._config.training
        batches = self._task.batches(self._config, self.first_epoch)
        validation = self._task.validation(settings.batch_size) if validates else {}
        return self.model.fit(
            batches,
            **validation,
            steps_per_epoch=self._task.steps_per_epoch(settings.batch_size),
            shuffle=False,
            epochs=settings.epochs,
            initial_epoch=self.first_epoch,
            callbacks=self.callbacks,
            verbose=verbose,
        ).history
