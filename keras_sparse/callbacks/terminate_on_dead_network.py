"""No hours for a network that has died."""

import keras
import numpy as np

# Of outputs, for logits are of the order of 1; rounding is below.
_TOLERANCE = 1e-6


class TerminateOnDeadNetwork(keras.callbacks.Callback):
    """Stops the training when the outputs of the network no longer depend on its inputs.

    That is how a network ends in which some layer that everything has to pass is zero, whatever
    made it so and whatever leads around other layers; or one with outputs that are not finite.

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
        if len(keras.tree.flatten(data)[0]) < 2:
            raise ValueError("`data` must hold two inputs or more, to see whether outputs differ.")
        self._data = data
        self.died_in_epoch = None

    def on_train_begin(self, logs=None):
        """Forget another training."""
        self.died_in_epoch = None

    def on_epoch_end(self, epoch, logs=None):
        """Look at the outputs."""
        if not any(map(_is_alive, keras.tree.flatten(self._outputs()))):
            self.died_in_epoch = epoch
            self.model.stop_training = True

    def _outputs(self):
        outputs = self.model(self._data, training=False)
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)


def _is_alive(outputs):
    if not np.isfinite(outputs).all():
        return False
    scale = max(1.0, float(np.abs(outputs).max()))
    return bool(np.ptp(outputs, axis=0).max() > _TOLERANCE * scale)
