"""A record of a model's channels at the end of an epoch."""

import dataclasses

import numpy as np

from keras_sparse.channels.dead import Gap

# The smallest float32 above zero.
_SMALLEST = 1e-45


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """The channels at the end of one epoch.

    Args:
        epoch: int, counted from 0 as Keras does.
        scores: `{layer name: float64 array (channels,)}`.
        dead: `{layer name: bool array (channels,)}`, dead for the requested number of epochs.
        gap: `Gap` of the scores over all layers, for this epoch alone.
        threshold: float, below which the criterion calls a channel dead; None if it uses another
            rule.
        alpha_lambda_over_epsilon: see the function of that name.
    """

    epoch: int
    scores: dict
    dead: dict
    gap: Gap
    threshold: float | None
    alpha_lambda_over_epsilon: float | None = None


def log10_scores(scores):
    """log10 of scores for a picture; zero counts as 1e-45, the smallest float32.

    Args:
        scores: array of scores.

    Returns:
        A float64 array of the same shape.
    """
    return np.log10(np.maximum(scores, _SMALLEST))
