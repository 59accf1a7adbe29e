"""Training that removes dead channels between epochs."""

import dataclasses
import operator
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import keras

from keras_sparse import surgery
from keras_sparse._types import Path, Verify
from keras_sparse.callbacks.epoch_checkpoint import EpochCheckpoint
from keras_sparse.channels import DeadChannels
from keras_sparse.files import check_folder
from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.random_state import (
    SeededEpochs,
    check_random_state,
    random_state,
    set_random_state,
)
from keras_sparse.shrinking import state as states
from keras_sparse.shrinking.estimate import Estimate, Stopwatch
from keras_sparse.shrinking.relay import AfterEpoch, JoinedHistory, Relay
from keras_sparse.shrinking.removing import compile_arguments, followed, remove_dead
from keras_sparse.surgery.verify import check_verify
from keras_sparse.training_steps import check_training_steps
from keras_sparse.validation import check_number
from keras_sparse.weight_decay import (
    exclude_like,
    exclude_saved,
    same_weights,
    saved_exclusions,
)


@dataclasses.dataclass(frozen=True)
class Shrink:
    """One removal of dead channels during training.

    Attributes:
        epoch: number of epochs trained before.
        channels: `{layer name: (before, after)}` of the layers that lost channels.
        parameters: of the model, `(before, after)`.
        macs: multiply-accumulates for one sample, `(before, after)`.
        seconds: how long the removal took, without compiling the compact network.
    """

    epoch: int
    channels: dict
    parameters: tuple[int, int]
    macs: tuple[int, int]
    seconds: float


class ShrinkingTrainer:
    """Trains with `model.fit`, and removes dead channels from the network during training.

    At the end of an epoch it removes channels if enough of them have been dead for some epochs in a
    row and the removal saves time. It sets their incoming weights (already nearly zero) to zero,
    and surgery removes the channels. Training continues with the compact network, and with the same
    epochs, callbacks, learning rate, step count, momentum and masks. The loss does not jump,
    because the outputs stay the same.

    A removal pays if it saves more than twice the time that it and the new compilation take. The
    time saved is the time of the remaining epochs times the share of the multiply-accumulates
    removed. The time of compiling is the time of the network's first epoch minus that of its
    fastest. Measured times decide only when channels are removed. Channels that are dead at the end
    of training are removed then, with a warning if no removal paid before. Until a channel dies,
    the result is bit-identical to `model.fit`, except that on PyTorch layers such as dropout draw
    other random numbers.

    Use it with an optimizer that kills channels: Adam with an L2 `kernel_regularizer`,
    `RDA(groups="channel")`, `SparseMomentum(growth="momentum_by_channel")`.

    With a `folder`, the network and all state are saved there after each epoch. A trainer with the
    same folder resumes an interrupted training with the compact network. The result is
    bit-identical to an uninterrupted run under two conditions: the order of the data depends on the
    epoch only (Keras' own shuffling draws a new order in each call of `fit`), and removals do not
    depend on measured times (`must_pay=False`). A training that a callback ended stays ended.
    States of other callbacks are not saved.

    Args:
        model: a compiled and built `keras.Model` with Keras' own `train_step`. After a removal
            `trainer.model` is another object, and `model` is no longer trained.
        dead_channels: a `channels.DeadChannels`, with a criterion that needs no data. Defaults to
            `DeadChannels(IncomingNorm(1e-6), epochs=3)`.
        min_dead: float in (0, 1], the share of all channels that must have died since the last
            removal before the next. Defaults to 0.05.
        must_pay: bool, or a function from an `Estimate` to bool. True: the rule above; channels
            that are dead at the end are removed too. False: remove whenever enough channels are
            dead and epochs are left. A function replaces the rule. Defaults to True.
        folder: the folder in which the run is saved after each epoch, or None. One folder holds one
            run.
        verify: inputs on which the outputs before and after a removal are compared, True for random
            inputs, or False for no comparison; see `surgery.remove_dead_channels`.

    Attributes:
        model: the current model, compiled.
        history: the `keras.callbacks.History` of all epochs.
        shrinks: list of `Shrink`, one for each removal.

    Raises:
        ValueError: an argument out of its range; a model that is not compiled or not built, that
            has a custom training step, or that surgery cannot read; a folder with a state that
            cannot be read or that belongs to another model.

    Example:

    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> trainer = ShrinkingTrainer(model, folder="run")
    >>> history = trainer.fit(x, y, epochs=50, validation_data=(x_test, y_test))
    >>> trainer.model.save("small.keras")

    Reference:
        PruneTrain: fast neural network training by dynamic sparse model reconfiguration,
        arXiv 1901.09290, removes channels during training, with its own regularizer.
    """

    def __init__(
        self,
        model: keras.Model,
        dead_channels: DeadChannels | None = None,
        min_dead: float = 0.05,
        must_pay: bool | Callable[[Estimate], bool] = True,
        folder: Path | None = None,
        verify: Verify = True,
    ) -> None:
        min_dead = check_number("min_dead", min_dead, "(0, 1]")
        if not (isinstance(must_pay, bool) or callable(must_pay)):
            raise ValueError(
                "`must_pay` must be True, False or a function of an Estimate. "
                f"Received: must_pay={must_pay!r}"
            )
        if folder is not None:
            check_folder("folder", folder)
        check_verify(verify)
        _check_model(model)
        self.model = model
        self._shapes = states.shapes(model)
        self._given = states.given(model)
        self.dead_channels = _checked(dead_channels)
        self.min_dead = min_dead
        self.must_pay = must_pay
        self.folder = folder
        self.verify = verify
        self.history = JoinedHistory()
        self.shrinks = []
        self._dead_before = 0
        # Dead channels that the last removal had to keep.
        self._dead_kept = 0
        self._declined = None
        self._next_epoch = 0
        # `epochs` of the call of `fit` that a callback ended early, or None.
        self._ended_of = None
        self._stopwatch = Stopwatch()
        found = states.load(folder) if folder is not None else None
        if found:
            self._resume(*found)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        callbacks: list[keras.callbacks.Callback] | None = None,
        **arguments: Any,
    ) -> keras.callbacks.History:
        """Train; the arguments are those of `model.fit`.

        If `steps_per_epoch` splits the data into epochs, the data start again after a removal.

        Args:
            x, y: data, as `model.fit` takes them.
            epochs: int, the epoch to stop at.
            initial_epoch: int, the epoch to start at if the folder holds no run.
            callbacks: list of callbacks. They see a single training; `set_model` is called with
                each new model.
            **arguments: the other arguments of `model.fit`.

        Returns:
            The `keras.callbacks.History` of all epochs, including those before an interruption.

        Raises:
            ValueError: a callback that restores weights of a larger network.
        """
        _check_callbacks(callbacks)
        self._epochs = epochs
        self._next_epoch = self._next_epoch or initial_epoch
        done = self._next_epoch >= epochs
        self._relay = Relay(callbacks)
        while self._ended_of != epochs:
            model = self.model
            self._stopwatch = Stopwatch()
            model.fit(
                x,
                y,
                epochs=epochs,
                initial_epoch=self._next_epoch,
                callbacks=[
                    self._relay,
                    SeededEpochs(),
                    self.history,
                    AfterEpoch(self._after_epoch),
                ],
                **arguments,
            )
            if self.model is model:
                break
        if self.must_pay is True:
            self._remove_at_the_end()
        if not done:
            # Another call of `fit` starts a new training, as with `model.fit`.
            self._next_epoch, self._ended_of = 0, None
        return self.history

    def _remove_at_the_end(self):
        """Remove channels whose removal did not pay: a busy machine may distort the times."""
        dead, declined = self.dead_channels.dead, self._declined
        self._declined = None
        if _count(dead) <= self._dead_kept or not self._shrink(dead, epochs_left=0):
            return
        if self.folder is not None:
            states.save(self.folder, self.model, self._state())
        if declined and len(self.shrinks) == 1:
            warnings.warn(
                "No removal paid during training: by the last estimate, the remaining epochs would "
                f"have been shorter by {declined.seconds_saved:.1f} s in all, and compiling again "
                f"and surgery took {declined.seconds_spent:.1f} s. Dead channels were removed at "
                "the end. `must_pay=False` removes them as soon as they die.",
                stacklevel=3,
            )

    def _after_epoch(self, epoch, seconds):
        self._stopwatch.add(seconds)
        self._next_epoch = epoch + 1
        dead = self.dead_channels.update(self.model)
        epochs_left = self._epochs - self._next_epoch
        self._ended_of = self._epochs if self.model.stop_training else None
        stops = self.model.stop_training or not epochs_left
        shrank = not stops and self._enough(dead) and self._shrink(dead, epochs_left)
        if self.folder is not None:
            states.save(self.folder, self.model, self._state())
        self._relay.goes_on = shrank
        return shrank

    def _enough(self, dead):
        channels = sum(mask.size for mask in dead.values())
        newly = _count(dead) - self._dead_before
        return newly > 0 and newly >= self.min_dead * channels

    def _shrink(self, dead, epochs_left):
        """Continue with a compact model if that pays; returns whether it does."""
        at_the_end = not epochs_left
        if self.must_pay is True and self._stopwatch.epoch_seconds is None and not at_the_end:
            return False
        # In any case, the next check waits until more channels have died.
        self._dead_before = _count(dead)
        start = time.perf_counter()
        try:
            compact, report = remove_dead(self.model, dead, self.verify)
        except (ValueError, RuntimeError) as error:
            end = "ends" if at_the_end else "continues"
            warnings.warn(f"Training {end} without removing channels: {error}", stacklevel=2)
            return False
        seconds = time.perf_counter() - start
        if report.parameters[0] == report.parameters[1]:
            return False
        estimate = Estimate(
            epochs_left=epochs_left,
            epoch_seconds=self._stopwatch.epoch_seconds,
            compile_seconds=self._stopwatch.compile_seconds,
            surgery_seconds=seconds,
            macs=report.macs,
            parameters=report.parameters,
        )
        if not (at_the_end or self._pays(estimate)):
            self._declined = estimate
            return False
        kept, names = followed(self.model, compact, report)
        bare_optimizer(self.model.optimizer).training_goes_on = True
        self.model = compact
        changed = {name: pair for name, pair in report.channels.items() if pair[0] != pair[1]}
        self.shrinks.append(
            Shrink(self._next_epoch, changed, report.parameters, report.macs, seconds)
        )
        self.dead_channels.keep(kept)
        streaks = self.dead_channels.get_state()
        self.dead_channels.set_state({names[name]: streaks[name] for name in streaks})
        # Dead channels that surgery kept must not trigger another removal.
        self._dead_before = self._dead_kept = _count(self.dead_channels.dead)
        return True

    def _pays(self, estimate):
        if callable(self.must_pay):
            return bool(self.must_pay(estimate))
        return estimate.pays or not self.must_pay

    def _state(self):
        return {
            "epoch": self._next_epoch,
            "ended_of": self._ended_of,
            "shapes": self._shapes,
            "given": self._given,
            "random_state": random_state(self.model),
            "dead_channels": self.dead_channels.get_state(),
            "dead_before": self._dead_before,
            "without_weight_decay": saved_exclusions(self.model),
            "shrinks": [dataclasses.asdict(shrink) for shrink in self.shrinks],
            "history": {"epoch": self.history.epoch, "logs": self.history.history},
        }

    def _resume(self, model, state):
        if state["shapes"] != self._shapes:
            raise ValueError(
                "`folder` holds the run of another model; give another folder. Received: "
                f"folder={str(self.folder)!r}, whose model has inputs and outputs of shapes "
                f"{state['shapes']}, for a model of {self._shapes}"
            )
        # A file of an older version does not have it.
        if state.get("given", self._given) != self._given:
            raise ValueError(
                "`folder` holds the run of another model; give another folder. Received: "
                f"folder={str(self.folder)!r}, whose run began with weights of other shapes, or "
                f"with another optimizer than {self._given['optimizer']}"
            )
        try:
            check_random_state(model, state["random_state"])
            self.dead_channels.set_state(state["dead_channels"])
            # Layers of nested models may have new names.
            dead, found = self.dead_channels.dead, self.dead_channels.criterion.scores(model)
            if (found and not dead) or state["dead_before"] < 0:
                raise ValueError("'dead_channels' or 'dead_before' is of no run")
            for name, scores in found.items():
                if name in dead and len(dead[name]) != len(scores):
                    raise ValueError(f"'dead_channels' of {name} are not those of the model")
            self.shrinks = [_shrink_from(found) for found in state["shrinks"]]
            self.history.restore(state["history"]["epoch"], state["history"]["logs"])
            if self.history.epoch[-1] + 1 != state["epoch"]:
                raise ValueError("'history' does not end with the epoch")
            self._exclude_from_weight_decay(model, state)
        except (IndexError, KeyError, TypeError, ValueError, re.error) as error:
            raise ValueError(
                states.damaged(self.folder, f"the state is damaged: {error}")
            ) from error
        self.model = model
        set_random_state(model, state["random_state"])
        self._dead_before = state["dead_before"]
        self._next_epoch = state["epoch"]
        self._ended_of = state.get("ended_of")

    def _exclude_from_weight_decay(self, model, state):
        if "without_weight_decay" in state:
            exclude_saved(model, state["without_weight_decay"])
        else:  # a file of an older version
            given = self.model.optimizer
            exclude_like(model.optimizer, given, lambda: same_weights(model, self.model))


def _shrink_from(found):
    return Shrink(
        epoch=operator.index(found["epoch"]),
        channels={name: _pair(pair) for name, pair in found["channels"].items()},
        parameters=_pair(found["parameters"]),
        macs=_pair(found["macs"]),
        seconds=float(found["seconds"]),
    )


def _pair(found):
    before, after = map(operator.index, found)
    return before, after


def _count(dead):
    return int(sum(mask.sum() for mask in dead.values()))


def _checked(dead_channels):
    if dead_channels is None:
        return DeadChannels(epochs=3)
    if not isinstance(dead_channels, DeadChannels):
        raise ValueError(
            "`dead_channels` must be a `keras_sparse.channels.DeadChannels`. "
            f"Received: dead_channels={dead_channels!r}"
        )
    if dead_channels.criterion.needs_data:
        raise ValueError(
            "`dead_channels` must judge by the weights, IncomingNorm or BatchNormScale: a channel "
            "that is silent on some data cannot be removed exactly. "
            f"Received: criterion={dead_channels.criterion!r}"
        )
    return dead_channels


def _check_model(model):
    check_training_steps(model)
    surgery.count_macs(model)  # raises where surgery cannot read the model
    compile_arguments(model)


def _check_callbacks(callbacks):
    for callback in keras.tree.flatten(callbacks or []):
        if isinstance(callback, (keras.callbacks.BackupAndRestore, EpochCheckpoint)):
            raise ValueError(
                f"`callbacks` has {type(callback).__name__}, which cannot restore a network from "
                "which channels were removed. Give ShrinkingTrainer a `folder` instead."
            )
        if getattr(callback, "restore_best_weights", False):
            raise ValueError(
                "`callbacks` has EarlyStopping with restore_best_weights=True: weights from before "
                "a removal do not fit the network after it. Use "
                "ModelCheckpoint(save_best_only=True)."
            )
