"""A record of the masks, epoch by epoch."""

import base64

import keras
import numpy as np

from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.variables import by_path, path_patterns, prunable_by_patterns, prunable_variables


class MaskHistory(keras.callbacks.Callback):
    """Records the masks of the optimizer at the end of each epoch.

    For an optimizer without masks, such as RDA, it records which weights are not zero. The record
    takes one bit for each weight and epoch. See `analysis.mask_overlap`.

    Args:
        exclude: weights that are not recorded, for an optimizer without masks; see
            `keras_sparse.RDA`.

    Attributes:
        epochs: list of `{path of the weight: uint8 array}`, one dict for each epoch; the arrays
            are masks packed by `np.packbits`.
        sizes: `{path of the weight: number of weights}`.

    Example:

    >>> masks = MaskHistory()
    >>> model.fit(x, y, epochs=10, callbacks=[masks])
    >>> analysis.mask_overlap(masks)[0, -1]
    0.41
    """

    def __init__(self, exclude=None):
        super().__init__()
        self._exclude = path_patterns(exclude)
        self.epochs = []
        self.sizes = {}

    def on_train_begin(self, logs=None):
        prunable_variables(self.model, self._exclude)

    def on_epoch_end(self, epoch, logs=None):
        masks = getattr(bare_optimizer(self.model.optimizer), "masks", None)
        if masks is None:
            masks = by_path(prunable_by_patterns(self.model, self._exclude))
        masks = {path: keras.ops.convert_to_numpy(mask) != 0 for path, mask in masks.items()}
        self.sizes = {path: mask.size for path, mask in masks.items()}
        self.epochs.append({path: np.packbits(mask) for path, mask in masks.items()})

    def get_state(self):
        """The record, JSON-serializable; see `set_state`."""
        epochs = [
            {path: base64.b64encode(mask.tobytes()).decode() for path, mask in epoch.items()}
            for epoch in self.epochs
        ]
        return {"sizes": self.sizes, "epochs": epochs}

    def set_state(self, state):
        """Continue from a state that `get_state` returned, also in another process."""
        self.sizes = state["sizes"]
        self.epochs = [
            {path: np.frombuffer(base64.b64decode(mask), "uint8") for path, mask in epoch.items()}
            for epoch in state["epochs"]
        ]
