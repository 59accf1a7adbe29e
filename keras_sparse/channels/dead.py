"""Channels that have been dead for some epochs, and the gap to live channels."""

import dataclasses
import math

import keras
import numpy as np

from keras_sparse.channels.criteria import ChannelCriterion, IncomingNorm
from keras_sparse.validation import check_integer


@dataclasses.dataclass(frozen=True)
class Gap:
    """The gap between the scores of dead and live channels; a wide gap means a safe threshold.

    Args:
        dead: largest score of a dead channel, None if there are none.
        alive: smallest score of a live channel, None if there are none.
    """

    dead: float | None
    alive: float | None

    @property
    def decades(self):
        """log10(alive / dead); infinite if dead scores are zero, nan if one side is empty."""
        if self.dead is None or self.alive is None:
            return math.nan
        if self.dead == 0:
            return math.inf
        return math.log10(self.alive / self.dead) if self.alive else -math.inf


def gap(scores, dead):
    """The gap over all layers.

    Args:
        scores, dead: `{layer name: array (channels,)}`, as a `ChannelCriterion` gives them.

    Returns:
        A `Gap`.

    Example:

    >>> gap(scores, criterion.dead(scores)).decades
    19.2
    """
    low = [scores[name][dead[name]] for name in scores]
    high = [scores[name][~dead[name]] for name in scores]
    return Gap(
        dead=max((float(s.max()) for s in low if s.size), default=None),
        alive=min((float(s.min()) for s in high if s.size), default=None),
    )


def layer_gaps(scores, dead):
    """The gap of each layer, `{layer name: Gap}`; see `gap`."""
    return {name: gap({name: scores[name]}, dead) for name in scores}


@keras.saving.register_keras_serializable(package="keras_sparse")
class DeadChannels:
    """The channels that a criterion has found dead for `epochs` updates in a row.

    Args:
        criterion: a `ChannelCriterion`. Defaults to `IncomingNorm()`.
        epochs: int, 1 or more, the number of updates in a row. Defaults to 1.

    Attributes:
        scores: `{layer name: float64 array (channels,)}` of the last update; empty before the
            first.
        below: `{layer name: bool array (channels,)}`, whether the criterion calls each of them
            dead.

    Raises:
        ValueError: no criterion; `epochs` is no positive integer.

    Example:

    >>> dead_channels = DeadChannels(IncomingNorm(1e-6), epochs=3)
    >>> dead = dead_channels.update(model)  # at the end of each epoch
    >>> dead["conv1"]
    array([False, True, ...])
    >>> compact, report = surgery.remove_dead_channels(model)
    >>> dead_channels.keep({name: layer.kept for name, layer in report.layers.items()})
    """

    def __init__(self, criterion=None, epochs=1):
        criterion = IncomingNorm() if criterion is None else criterion
        if not isinstance(criterion, ChannelCriterion):
            raise ValueError(
                "`criterion` must be a `keras_sparse.channels.ChannelCriterion`, such as "
                f"IncomingNorm(). Received: criterion={criterion!r}"
            )
        self.criterion = criterion
        self.epochs = check_integer("epochs", epochs, "[1, inf)")
        self.scores = {}
        self.below = {}
        self._streaks = {}

    def update(self, model, data=None):
        """Score the channels once more.

        The count starts again for a new layer, and for a layer whose number of channels changed
        without a call of `keep`.

        Args:
            model: a built `keras.Model`.
            data: for criteria that need it; see `activations`.

        Returns:
            `{layer name: bool array (channels,)}`: dead in this and the previous `epochs - 1`
            updates.
        """
        self.scores = self.criterion.scores(model, data)
        self.below = self.criterion.dead(self.scores)
        streaks = {}
        for name, below in self.below.items():
            before = self._streaks.get(name)
            if before is None or len(before) != len(below):
                before = np.zeros(len(below), int)
            streaks[name] = np.where(below, before + 1, 0)
        self._streaks = streaks
        return self.dead

    @property
    def dead(self):
        """The result of the last update; also after `keep` and `set_state`."""
        return {name: streak >= self.epochs for name, streak in self._streaks.items()}

    def gap(self):
        """The `Gap` over all layers, for the last update."""
        return gap(self.scores, self.below)

    def layer_gaps(self):
        """The `Gap` of each layer, for the last update."""
        return layer_gaps(self.scores, self.below)

    def keep(self, kept):
        """Update the counts after channels were removed from the model.

        Args:
            kept: `{layer name: indices of the remaining channels, or a bool array}`. Layers that
                are not named keep all channels. A layer without remaining channels is dropped.
        """
        self.scores, self.below, self._streaks = (
            _kept(found, kept) for found in (self.scores, self.below, self._streaks)
        )

    def get_state(self):
        """How long each channel has been dead, JSON-serializable."""
        return {name: streak.tolist() for name, streak in self._streaks.items()}

    def set_state(self, state):
        """Continue from a state that `get_state` returned.

        Raises:
            ValueError: not a state of `get_state`.
        """
        counts = isinstance(state, dict) and all(
            isinstance(streak, list) and all(type(n) is int and n >= 0 for n in streak)
            for streak in state.values()
        )
        if not counts:
            raise ValueError(f"`state` must be what `get_state` returned. Received: {state!r}")
        self._streaks = {name: np.asarray(streak, int) for name, streak in state.items()}

    def get_config(self):
        """The arguments, for `keras.saving`; the state is not among them."""
        criterion = keras.saving.serialize_keras_object(self.criterion)
        return {"criterion": criterion, "epochs": self.epochs}

    @classmethod
    def from_config(cls, config):
        criterion = keras.saving.deserialize_keras_object(config["criterion"])
        return cls(criterion, config["epochs"])


def _kept(arrays, kept):
    """The kept entries of `{name: array}`, without arrays that become empty."""
    left = {}
    for name, array in arrays.items():
        index = np.asarray(kept[name]) if name in kept else slice(None)
        found = array[index] if np.size(index) else array[:0]
        if found.size:
            left[name] = found
    return left
