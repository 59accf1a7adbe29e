"""A log of the sparsity and its changes."""

import keras
import numpy as np

from keras_sparse.variables import by_path, path_patterns, prunable_by_patterns, prunable_variables


class SparsityLogger(keras.callbacks.Callback):
    """Logs, at the end of each epoch, how sparse each layer and the whole network is.

    The figures go into the epoch's `logs`: `sparsity`, the share of exact zeros among all prunable
    weights; `sparsity/VARIABLE` for each of them; `grown` and `pruned`, the number of weights that
    became nonzero and zero since the previous epoch (in the first epoch, since the start of
    training). Later callbacks in the list write them to files: `keras.callbacks.CSVLogger` to a
    table, `keras.callbacks.TensorBoard` to its scalars.

    Args:
        exclude: weights that do not count as prunable; see `keras_sparse.RDA`.

    Example:

    >>> model.fit(x, y, callbacks=[SparsityLogger(), keras.callbacks.CSVLogger("log.csv")])
    """

    def __init__(self, exclude=None):
        super().__init__()
        self.exclude = path_patterns(exclude)

    def set_model(self, model):
        """Forget the weights of another model: `ShrinkingTrainer` continues with a smaller one."""
        super().set_model(model)
        self._nonzero = None

    def on_train_begin(self, logs=None):
        prunable_variables(self.model, self.exclude)  # raises if `exclude` matches nothing

    def on_epoch_begin(self, epoch, logs=None):
        """Remember which weights are nonzero, in the first epoch of a model."""
        if self._nonzero is None:
            self._nonzero = self._patterns()

    def on_epoch_end(self, epoch, logs=None):
        before, now = self._nonzero, self._patterns()
        self._nonzero = now
        if logs is None or not now:
            return
        nonzeros = sum(int(pattern.sum()) for pattern in now.values())
        logs["sparsity"] = 1.0 - nonzeros / sum(pattern.size for pattern in now.values())
        for path, pattern in now.items():
            logs[f"sparsity/{path}"] = 1.0 - float(pattern.mean())
        logs["grown"] = sum(int((now[path] & ~before[path]).sum()) for path in now)
        logs["pruned"] = sum(int((before[path] & ~now[path]).sum()) for path in now)

    def _patterns(self):
        return {
            path: np.asarray(keras.ops.convert_to_numpy(variable) != 0)
            for path, variable in by_path(prunable_by_patterns(self.model, self.exclude)).items()
        }
