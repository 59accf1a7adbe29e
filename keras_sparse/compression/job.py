"""The steps of a compression, which the schedules use."""

import dataclasses
import os

import keras

from keras_sparse.compression.checkpoint import COMPILE_SETTINGS
from keras_sparse.compression.data import HASHES, data_hashes, data_sizes
from keras_sparse.compression.descriptions import compile_settings
from keras_sparse.compression.device import Cut, fit_to_device
from keras_sparse.compression.importance import Taylor, as_importance
from keras_sparse.compression.plan_files import PlanFolder, plan_digest, weights_digest
from keras_sparse.compression.planning import Plan
from keras_sparse.compression.recovery import (
    compile_like,
    recovery_optimizer,
    sources_of,
    steps_per_epoch,
)
from keras_sparse.compression.training import Training
from keras_sparse.compression.trial import recalibrate

_OF_SCORES = ("model", "data", *HASHES, "importance", "exclude", "loss", "loss_weights")


@dataclasses.dataclass(frozen=True)
class Recovered:
    """The result of a schedule.

    Args:
        first: the first `Plan`; its costs before are the costs of the given model.
        cut: the last `Cut`, with the trained model.
        metrics: `{name: float}`, the metrics of the model right after the last cut.
        history: `{name: values by epoch}` of all training.
    """

    first: Plan
    cut: Cut
    metrics: dict
    history: dict


@dataclasses.dataclass(frozen=True)
class Job:
    """The arguments of `compress`, and its steps.

    Args:
        model, target, plan, epochs, learning_rate, importance, allocation, latency, exclude, micro,
            files: see `compress`.
        training: a `Training`.
        folder: folder in which all stages are saved; None to save nothing.
        schedule: the schedule's `repr`.
    """

    model: keras.Model
    training: Training
    target: dict | None
    plan: Plan | None
    epochs: int
    learning_rate: float
    importance: object
    allocation: str
    latency: dict | None
    exclude: tuple
    micro: object
    files: object
    folder: str | None
    schedule: str

    def cut(self, model=None, target=None, stage=None, measure=True):
        """Plans and removes channels.

        Args:
            model: the model to cut; the given model by default.
            target: see `fit_to_device`; the user's target by default.
            stage: str, name of the subfolder of this cut, if there are several cuts.
            measure: bool, whether measured costs must meet the limits, not only predicted ones.

        Returns:
            A `Cut`. Its model is not compiled.
        """
        if self.plan is not None:
            return Cut(self.plan, *self.plan.apply(self.model), {})
        model = self.model if model is None else model
        importance = as_importance(Taylor() if self.importance is None else self.importance)
        settings = {
            "model": weights_digest(model),
            "data": data_sizes(self.training.data),
            "target": self.target,
            "importance": repr(importance),
            "allocation": self.allocation,
            "latency": {
                name: getattr(table, "machine", None)
                for name, table in sorted((self.latency or {}).items())
            },
            "micro": None if self.micro is None else True,
            "files": None if self.files is None else True,
            "exclude": sorted(self.exclude),
            "schedule": self.schedule,
            **self._described(),
        }
        return fit_to_device(
            model,
            self.training.data,
            PlanFolder(self.folder_of(stage), settings, _OF_SCORES),
            timed=self.model,
            target=self.target if target is None else target,
            measure=measure,
            importance=importance,
            allocation=self.allocation,
            latency=self.latency,
            meters=[meter for meter in (self.micro, self.files) if meter is not None],
            exclude=self.exclude,
            say=self.training.say,
        )

    def prepare(self, cut, epochs, constant=False, sources=None):
        """Compiles the model of a cut, and recalibrates its batch normalisation.

        Args:
            cut: a `Cut`.
            epochs: int, epochs of the training.
            constant: bool, whether the learning rate stays at its peak.
            sources: the result of `sources_of`, if the cut is not of the given model.
        """
        sources = sources_of(cut.report) if sources is None else sources
        compile_like(cut.model, self.model, self.optimizer(epochs, constant), sources)
        recalibrate(cut.model, self.training.data, self.training.batch_size)

    def optimizer(self, epochs, constant=False):
        """A new optimizer like that of the given model; see `prepare`."""
        steps = steps_per_epoch(self.training.data, self.training.batch_size)
        warmup = steps if epochs > 1 else 0
        return recovery_optimizer(
            self.model.optimizer,
            self.learning_rate,
            steps=None if constant else steps * epochs,
            warmup=0 if constant else warmup,
        )

    def train(self, model, plan, epochs, stage=None):
        """Trains a compiled model, and returns the history."""
        settings = {
            "model": weights_digest(self.model),
            "plan": plan_digest(plan),
            "data": data_sizes(self.training.data),
            "epochs": epochs,
            "learning_rate": self.learning_rate,
            "schedule": self.schedule,
            **self._described(),
            **self.training.settings(),
        }
        return self.training.run(model, epochs, self.folder_of(stage), settings)

    def _described(self):
        if self.folder is None:
            return dict.fromkeys((*COMPILE_SETTINGS, *HASHES))
        return {**compile_settings(self.model), **data_hashes(self.training.data)}

    def folder_of(self, stage):
        """The folder of a stage; None if nothing is saved."""
        if self.folder is None:
            return None
        return os.path.join(self.folder, "recovery", *([stage] if stage else []))
