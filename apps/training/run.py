"""One training, from the flags to what it leaves in its folder."""

import dataclasses

import keras

from apps import program
from apps.tables.training import Run
from apps.training import methods, networks, outputs, strategies, tasks
from apps.training.baseline import dense_values
from apps.training.callbacks import Progress, callbacks
from apps.training.flags import GROUPS
from apps.training.missed_targets import missed_targets
from apps.training.optimizers import optimizer
from export import run_folder
from keras_sparse.callbacks import EpochCheckpoint

# What may differ between a run and its continuation.
_FREE = ("baseline", "data_dir", "export", "out", "quantize", "resume", "tensorboard")


@dataclasses.dataclass(frozen=True)
class Training:
    """What `prepare` checked and made.

    Attributes:
        values: the `FlagValues`.
        strategy: the `Strategy`.
        task: the `InMemory` or `Streamed` one.
        model: the network, compiled.
        callbacks: list of those of the run.
        first_epoch: int, where it starts.
    """

    values: object
    strategy: strategies.Strategy
    task: tasks.InMemory | tasks.Streamed
    model: keras.Model
    callbacks: list
    first_epoch: int

    def run(self, command):
        """Train, then write what came out.

        Args:
            command: how the program was called, for the report.

        Raises:
            UsageError: the network died.
        """
        with missed_targets() as missed:
            history = self._fit()
        if self.strategy.is_chief:
            self._check_alive()
            outputs.write_masks(self.callbacks, outputs.folder(self.values) / "masks.npz")
        dense = self._dense()
        if self.strategy.is_chief:
            told = {"command": command, **({"missed_target": missed[0]} if missed else {})}
            outputs.write(self._plain_model(), history, self.task, self.values, told, dense)

    def _fit(self):
        return self.model.fit(
            **self.task.arguments(self.values, self.first_epoch),
            epochs=self.values.epochs,
            initial_epoch=self.first_epoch,
            callbacks=self.callbacks,
            verbose="auto" if self.strategy.is_chief else 0,
        ).history

    def _dense(self):
        """The baseline and its history, or None."""
        values = dense_values(self.values)
        if values is None:
            return None
        if self.strategy.is_chief:
            print(
                f"Training the same network dense, with {values.optimizer}, to compare with "
                "(--nobaseline leaves this out)",
                flush=True,
            )
        training = _training(values, self.strategy, self.task, "dense_")
        history = training._fit()
        return training._plain_model(), history

    def _check_alive(self):
        for callback in self.callbacks:
            epoch = getattr(callback, "died_in_epoch", None)
            if epoch is not None:
                raise program.UsageError(
                    f"The network died in epoch {epoch + 1}: its output is the same for every "
                    "image, or not finite. Lower --l1, --l2, --learning_rate or --target_sparsity, "
                    "raise --density or --init_scale, or go on regardless by --nostop_when_dead."
                )

    def _plain_model(self):
        """The trained network in float32 and on one device."""
        if not (self.values.strategy or self.values.mixed_precision):
            return self.model
        keras.distribution.set_distribution(None)
        model = networks.network(self.task, self.values)
        model.set_weights(self.model.get_weights())
        return model


def prepare(values):
    """Check everything that a person gave, load the data, and make the network and the folder.

    Args:
        values: the `FlagValues`.

    Returns:
        A `Training`.

    Raises:
        ValueError: something does not fit.
    """
    strategy = strategies.use(values)
    outputs.check_flags(values)
    task = tasks.load(values, strategy.divides)
    return _training(values, strategy, task)


def _training(values, strategy, task, prefix=""):
    """A `Training`; the prefix is that of its files."""
    with strategy.scope():
        model = compiled(task, values)
        strategy.adapt(model, task.samples)
        found = callbacks(values, task, outputs.log_dir(values) if strategy.is_chief else None)
        if strategy.is_chief:
            run_folder.prepare(outputs.folder(values))
        first_epoch = 0
        if values.resume:
            path = outputs.folder(values) / f"{prefix}checkpoint"
            found.append(EpochCheckpoint(path, found, _settings(values), strategy.is_chief))
            first_epoch = found[-1].restore(model)
        else:
            found.append(keras.callbacks.History())
    if strategy.is_chief:
        path = outputs.folder(values) / f"{prefix}history.csv"
        found.append(outputs.HistoryWriter(path))
        found.append(Progress())
    return Training(values, strategy, task, model, found, first_epoch)


def compiled(task, values):
    """The network and the optimizer that the flags describe, compiled and built.

    Args:
        task: what `tasks.load` returns.
        values: the `FlagValues`.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: flags that do not go with each other or with this network.
    """
    steps = task.steps_per_epoch(values)
    policy = keras.config.dtype_policy()
    if values.mixed_precision:
        keras.config.set_dtype_policy("mixed_float16")
    try:
        model = networks.network(task, values)
    finally:
        keras.config.set_dtype_policy(policy)
    model.compile(
        optimizer=optimizer(values, Run(values.seed, values.epochs, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile={"auto": "auto", "true": True, "false": False}[values.jit_compile],
        steps_per_execution=methods.steps_per_execution(values, steps),
    )
    # What does not go with this network is told before the first step.
    model.optimizer.build(model.trainable_variables)
    return model


def _settings(values):
    """Of the run, as what JSON knows: a run that goes on must have been started with them."""
    groups = values.flags_by_module_dict()
    flags = {flag.name: flag.value for group in GROUPS for flag in groups[group]}
    return {name: value for name, value in flags.items() if name not in _FREE}
