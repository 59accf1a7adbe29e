"""Counting the channels that died."""

import keras

from keras_sparse.channels import channel_norms, layers_with_channels
from keras_sparse.channels.names import by_name
from keras_sparse.variables import warn_of_dead_layers


class ZeroChannels(keras.callbacks.Callback):
    """Counts, at the end of each epoch, the channels that have died.

    A channel is dead when the 2-norm of its incoming weights (biases do not count) is below a
    threshold. RDA leaves exact zeros; Adam with an L2 regularizer leaves about 1e-20, while live
    channels stay many orders of magnitude above.

    The counts go into the epoch's `logs`, where the callbacks that follow, the history and the
    progress bar see them: `zero_channels`, the sum over all layers, and `zero_channels/LAYER` for
    each dense layer and convolution. When all channels of a layer are dead it warns, once.

    Args:
        threshold: float, above 0, in units of the weights. Defaults to 1e-6.

    Raises:
        ValueError: a threshold that is not positive.

    Example:

    >>> history = model.fit(x, y, callbacks=[ZeroChannels()])
    >>> history.history["zero_channels"]

    Reference:
        On implicit filter level sparsity in convolutional neural networks, arXiv 1811.12495,
        section 3; Adam induces implicit weight sparsity in rectifier networks, arXiv 1812.08119.
    """

    def __init__(self, threshold=1e-6):
        super().__init__()
        if not threshold > 0:
            raise ValueError(f"`threshold` must be above 0. Received: threshold={threshold}")
        self.threshold = threshold

    def on_train_begin(self, logs=None):
        """Forget of which layers a training before this one was warned."""
        self._warned = set()

    def on_epoch_end(self, epoch, logs=None):
        """Write the counts into `logs`."""
        layers = layers_with_channels(self.model)
        counts, dead = {}, []
        for name, layer in by_name(layers).items():
            norms = channel_norms(layer)
            counts[f"zero_channels/{name}"] = int((norms < self.threshold).sum())
            if (norms < self.threshold).all():
                dead.append(name)
        if logs is not None:
            logs.update(zero_channels=sum(counts.values()), **counts)
        warn_of_dead_layers([name for name in dead if name not in self._warned])
        self._warned.update(dead)
