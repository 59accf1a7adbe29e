"""A callback that stops the training of a dead network."""

import contextlib

import keras
import numpy as np

# Absolute, because logits are of the order of 1; rounding errors are smaller.
_TOLERANCE = 1e-6


class TerminateOnDeadNetwork(keras.callbacks.Callback):
    """Stops the training when the outputs of the network no longer depend on its inputs.

    This happens when all weights of a layer that is part of every path are zero. It also stops if
    an output is not finite.

    Args:
        data: a few different inputs, as `model.predict` takes them; 32 are plenty.

    Attributes:
        died_in_epoch: the epoch after which it stopped, or None.

    Raises:
        ValueError: fewer than two inputs.

    Example:

    >>> model.fit(x, y, epochs=300, callbacks=[TerminateOnDeadNetwork(x[:32])])
    """

    def __init__(self, data):
        super().__init__()
        shapes = [np.shape(array) for array in keras.tree.flatten(data)]
        if not shapes or any(not shape or shape[0] < 2 for shape in shapes):
            raise ValueError(
                "`data` must hold arrays of two inputs or more, to see whether outputs differ. "
                f"Received: data of shapes {shapes}"
            )
        self._data = data
        self.died_in_epoch = None

    def on_train_begin(self, logs=None):
        self.died_in_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        # In the first hundreds of steps the averages of batch normalisation lag behind, and in a
        # deep network the outputs hardly depend on the inputs. So the statistics of the batch are
        # tried too.
        at_inference = self._pairs(training=False)
        finite = all(np.isfinite(outputs).all() for outputs, _ in at_inference)
        if not finite or not (_any_differ(at_inference) or _any_differ(self._pairs(training=True))):
            self.died_in_epoch = epoch
            self.model.stop_training = True

    def _pairs(self, training):
        """For each output, its values for the data, and for the data in another order."""
        # Not row against row: with other masks of dropout, rows of a dead network differ too.
        moved = keras.tree.map_structure(lambda array: np.roll(array, 1, axis=0), self._data)
        both = (self._outputs(data, training) for data in (self._data, moved))
        return list(zip(*both, strict=True))

    def _outputs(self, data, training):
        """Outputs for which random layers draw the same numbers in each call."""
        variables = [
            [v.value for v in group]
            for group in (self.model.trainable_variables, self.model.non_trainable_variables)
        ]
        with _generators_kept():
            outputs, _ = self.model.stateless_call(*variables, data, training=training)
        return [keras.ops.convert_to_numpy(output) for output in keras.tree.flatten(outputs)]


def _generators_kept():
    """A context at whose end PyTorch's generators, which have no variables, are as before."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.random.fork_rng()
    return contextlib.nullcontext()


def _any_differ(pairs):
    return any(_differ(*pair) for pair in pairs)


def _differ(outputs, others):
    if not (np.isfinite(outputs).all() and np.isfinite(others).all()):
        return False
    scale = max(1.0, float(np.abs(outputs).max()))
    return bool(np.abs(outputs - others).max() > _TOLERANCE * scale)
