"""Criteria for dead channels that use weights, and the base class of all criteria."""

import keras
import numpy as np

from keras_sparse.channels.names import by_name
from keras_sparse.channels.norms import channel_norms, layers_with_channels
from keras_sparse.configured import Configured
from keras_sparse.validation import check_number
from keras_sparse.variables import layers_of_type


class ChannelCriterion(Configured):
    """Base of the criteria: scores channels, and compares the scores with a threshold.

    A subclass defines `scores`; one that needs data sets `needs_data = True`.

    Args:
        threshold: float, above 0. A channel is dead when its score is below.

    Raises:
        ValueError: a threshold that is not positive and finite.

    Example:

    >>> criterion = IncomingNorm()
    >>> scores = criterion.scores(model)
    >>> criterion.dead(scores)
    {"conv1": array([False, True, ...]), ...}
    """

    needs_data = False

    def __init__(self, threshold):
        self.threshold = float(check_number("threshold", threshold, "(0, inf)"))

    def scores(self, model, data=None):
        """Score each channel.

        Args:
            model: a built `keras.Model`.
            data: only for criteria that need it: what `channels.activations` takes.

        Returns:
            `{layer name: float64 array (channels,)}`. If several layers have the same name, their
            paths are used.

        Raises:
            ValueError: no data, for a criterion that needs it.
        """
        raise NotImplementedError

    def dead(self, scores):
        """Which channels are dead, `{layer name: bool array (channels,)}`, by their `scores`."""
        return {name: values < self.threshold for name, values in scores.items()}

    def get_config(self):
        return {"threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_sparse")
class IncomingNorm(ChannelCriterion):
    """2-norm of the incoming weights of a channel, without biases.

    RDA leaves exact zeros. Adam with an L2 regularizer leaves norms of about 1e-20; norms of live
    channels are many orders of magnitude larger. So the exact threshold does not matter.

    Args:
        threshold: float, in units of the weights. Defaults to 1e-6. The paper does not state its
            value.

    Example:

    >>> IncomingNorm().scores(model)["conv1"]

    Reference:
        Adam induces implicit weight sparsity in rectifier neural networks, arXiv 1812.08119.
    """

    def __init__(self, threshold=1e-6):
        super().__init__(threshold)

    def scores(self, model, data=None):
        """The norms, for dense layers and convolutions of all kinds; see `ChannelCriterion`."""
        layers = by_name(layers_with_channels(model))
        return {name: channel_norms(layer) for name, layer in layers.items()}


@keras.saving.register_keras_serializable(package="keras_sparse")
class BatchNormScale(ChannelCriterion):
    """Size of a channel's scale in batch normalisation, |γ|.

    The scores are named by batch normalisation layer, because its γ decides. Layers without γ are
    omitted.

    Args:
        threshold: float. Defaults to 1e-3, the paper's.

    Example:

    >>> BatchNormScale().scores(model)["conv1_bn"]

    Reference:
        On implicit filter level sparsity in convolutional neural networks, arXiv 1811.12495,
        section 2.
    """

    def __init__(self, threshold=1e-3):
        super().__init__(threshold)

    def scores(self, model, data=None):
        """|γ| by batch normalisation layer; see `ChannelCriterion`."""
        kind = keras.layers.BatchNormalization
        layers = [x for x in layers_of_type(model, kind) if x.built and x.scale]
        return {
            name: np.abs(keras.ops.convert_to_numpy(layer.gamma).astype("float64"))
            for name, layer in by_name(layers).items()
        }
