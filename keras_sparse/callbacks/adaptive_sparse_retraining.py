"""The second phase of RDA."""

import keras

from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.validation import check_integer


class AdaptiveSparseRetraining(keras.callbacks.Callback):
    """From `start_epoch` on, a weight that is or becomes zero stays zero.

    This is the second phase of training with RDA, adaptive sparse retraining (ASR): fine-tuning in
    which zeros stay zero and further weights may become zero. The phase is part of the optimizer's
    state, so a resumed run continues in it.

    Args:
        start_epoch: int, the first epoch of the phase, counted from 0 as Keras does.

    Raises:
        ValueError: a negative epoch; an optimizer that has no such phase.

    Example:

    >>> model.compile(optimizer=RDA(), loss="sparse_categorical_crossentropy")
    >>> model.fit(x, y, epochs=15, callbacks=[AdaptiveSparseRetraining(start_epoch=10)])

    Reference:
        Make l1 regularization effective in training sparse CNN, arXiv 1807.04222, section 4.
    """

    def __init__(self, start_epoch):
        super().__init__()
        self.start_epoch = check_integer("start_epoch", start_epoch, "[0, inf)")

    def on_train_begin(self, logs=None):
        """Check the optimizer before training."""
        if not hasattr(self._optimizer(), "start_fine_tuning"):
            raise ValueError(
                "AdaptiveSparseRetraining needs an optimizer of keras_sparse that thresholds (RDA, "
                f"GRDA, ProxSGD). Received: optimizer={type(self._optimizer()).__name__}"
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Start the phase at its first epoch."""
        if epoch < self.start_epoch:
            return
        optimizer = self._optimizer()
        if not optimizer.built:
            optimizer.build(self.model.trainable_variables)
        optimizer.start_fine_tuning()

    def _optimizer(self):
        return bare_optimizer(self.model.optimizer)
