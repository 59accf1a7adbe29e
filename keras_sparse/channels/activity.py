"""Criteria for dead channels that use activations on data."""

import weakref

import keras
import numpy as np

from keras_sparse.channels.activations import read, reader
from keras_sparse.channels.criteria import ChannelCriterion
from keras_sparse.validation import check_number

# A channel is inactive if its largest activation is below this threshold of the paper.
SILENT = 1e-12


class _OnData(ChannelCriterion):
    needs_data = True
    # The reader of the last model, kept because the model is usually the same in each epoch.
    _model = _reader = None

    def scores(self, model, data=None):
        """Score each channel of the dense layers and convolutions; see `ChannelCriterion`."""
        if data is None:
            raise ValueError(
                f"{type(self).__name__} judges channels by their activations: give `data`. "
                "Received: data=None"
            )
        parts = {}
        if self._model is None or self._model() is not model:
            self._model, self._reader = weakref.ref(model), reader(model)
        for found, _ in read(self._reader, data):
            for name, values in found.items():
                parts.setdefault(name, []).append(self._reduce(values))
        if not parts:
            raise ValueError("`data` has no images, or `model` no layer with channels.")
        return {name: self._score(np.concatenate(rows)) for name, rows in parts.items()}

    def _reduce(self, values):
        """From activations `(images, positions, channels)` to `(rows, channels)`."""
        raise NotImplementedError

    def _score(self, rows):
        """From the rows of all batches to one score for each channel."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_sparse")
class LargestActivation(_OnData):
    """Largest |activation| of a channel over all positions and images.

    Read after the nonlinearity; see `activations`. A channel that no image activates is dead even
    if its weights are not small.

    Args:
        threshold: float, in units of the activation. Defaults to 1e-12, the paper's.

    Example:

    >>> LargestActivation().scores(model, x_train)["conv1"]

    Reference:
        On implicit filter level sparsity in convolutional neural networks, arXiv 1811.12495,
        section 2.
    """

    def __init__(self, threshold=SILENT):
        super().__init__(threshold)

    def _reduce(self, values):
        return np.abs(values).max(axis=(0, 1), keepdims=True)[0]

    def _score(self, rows):
        return rows.max(axis=0).astype("float64")


@keras.saving.register_keras_serializable(package="keras_sparse")
class Selectivity(_OnData):
    """Share of the images that activate a channel: 1 − selectivity. A small score means dead.

    An image activates a channel if the largest |activation| over all positions reaches `relative`
    times the channel's largest over all images. If the channel stays below 1e-12 on all images, no
    image activates it. Memory: 4 bytes for each image and channel.

    Args:
        threshold: float, a share. Defaults to 1e-3; the paper has no such threshold. A rarely
            active channel has an effect: removing it changes the outputs.
        relative: float in (0, 1). Defaults to 1e-3, the paper's.

    Raises:
        ValueError: an argument out of its range.

    Example:

    >>> Selectivity().scores(model, x_train)["conv1"]

    Reference:
        On implicit filter level sparsity in convolutional neural networks, arXiv 1811.12495,
        section 2.
    """

    def __init__(self, threshold=1e-3, relative=1e-3):
        super().__init__(threshold)
        self.relative = float(check_number("relative", relative, "(0, 1)"))

    def _reduce(self, values):
        return np.abs(values).max(axis=1)

    def _score(self, rows):
        largest = rows.max(axis=0)
        return ((rows >= self.relative * largest) & (largest >= SILENT)).mean(axis=0)

    def get_config(self):
        return {**super().get_config(), "relative": self.relative}


@keras.saving.register_keras_serializable(package="keras_sparse")
class APoZ(_OnData):
    """Share of a channel's activations that are not zero: 1 − APoZ. A small score means dead.

    APoZ is the average percentage of zeros after a ReLU, over images and positions.

    Args:
        threshold: float, a share, or None for the paper's rule: a channel is dead if its score is
            more than one standard deviation below the mean of its layer. Defaults to None. A
            channel that is mostly zero has an effect: removing it changes the outputs.

    Raises:
        ValueError: a threshold that is not positive.

    Example:

    >>> APoZ().scores(model, x_train)["conv1"]

    Reference:
        Network trimming: a data-driven neuron pruning approach, arXiv 1607.03250, equation 1.
    """

    def __init__(self, threshold=None):
        super().__init__(1.0 if threshold is None else threshold)
        self.threshold = threshold

    def _reduce(self, values):
        return (values != 0).mean(axis=1)

    def _score(self, rows):
        return rows.mean(axis=0)

    def dead(self, scores):
        """Which channels are dead, `{layer name: bool array (channels,)}`, by their `scores`."""
        if self.threshold is not None:
            return super().dead(scores)
        return {name: s < s.mean() - s.std() for name, s in scores.items()}
