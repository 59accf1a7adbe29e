"""Measures of the response of channels to images and classes."""

import dataclasses

import keras
import numpy as np

from keras_sparse.channels import Selectivity, activations


def selectivity(model, data, relative=1e-3):
    """Share of the images that do not activate a channel.

    An image activates a channel if the largest |activation| over all positions reaches `relative`
    times the channel's largest over all images. 0 means that every image activates the channel, 1
    that none does.

    Args:
        model: a functional or Sequential `keras.Model`.
        data: images; see `channels.activations`.
        relative: float in (0, 1). Defaults to 1e-3, the paper's.

    Returns:
        `{layer name: float64 array (channels,)}`.

    Example:

    >>> selectivity(model, x_train)["conv1"].mean()

    Reference:
        On implicit filter level sparsity in convolutional neural networks, arXiv 1811.12495,
        section 2.
    """
    scores = Selectivity(relative=relative).scores(model, data)
    return {name: 1.0 - active for name, active in scores.items()}


@dataclasses.dataclass(frozen=True)
class Specialization:
    """How much the channels of a layer respond to one class.

    Args:
        shares: float64 array `(channels,)`: the largest share of a channel's total |activation|
            that is due to one class; nan for a channel without any activation.
        classes: int array `(channels,)`: the class of that share; -1 for a channel without any
            activation.
    """

    shares: np.ndarray
    classes: np.ndarray


def class_specialization(model, data):
    """For each channel the largest share of its total |activation| that is due to one class.

    With C classes of the same size, the share is 1/C for a channel that does not distinguish them,
    and 1 for a channel that responds to a single class.

    Args:
        model: a functional or Sequential `keras.Model`.
        data: images with int class labels, `(x, y)` or batches of them; see
            `channels.activations`. One-hot labels work too.

    Returns:
        `{layer name: Specialization}`.

    Raises:
        ValueError: data without labels.

    Example:

    >>> found = class_specialization(model, (x_test, y_test))
    >>> plot_by_layer({name: s.shares for name, s in found.items()}, "share of one class")

    Reference:
        Sparse networks from scratch, arXiv 1907.04840, section 5.2.
    """
    totals = {}
    for found, y in activations(model, data):
        if y is None:
            raise ValueError("`data` has no labels: give (x, y), or batches of them.")
        if keras.tree.is_nested(y):
            raise ValueError(
                "`data` must have one array of labels. Received: labels of several outputs, as a "
                f"{type(y).__name__}"
            )
        labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.ravel()
        for name, values in found.items():
            sums = np.abs(values).sum(axis=1, dtype="float64")
            for label in np.unique(labels):
                by_class = totals.setdefault(name, {})
                total = sums[labels == label].sum(axis=0)
                by_class[int(label)] = by_class.get(int(label), 0.0) + total
    return {name: _specialization(by_class) for name, by_class in totals.items()}


def _specialization(by_class):
    labels = np.array(list(by_class))
    sums = np.array(list(by_class.values()))
    total = sums.sum(axis=0)
    silent = total == 0
    shares = sums.max(axis=0) / np.where(silent, 1.0, total)
    return Specialization(
        shares=np.where(silent, np.nan, shares),
        classes=np.where(silent, -1, labels[sums.argmax(axis=0)]),
    )
