"""Regularized dual averaging from the initial weights."""

from typing import Any

import keras
from keras import ops

from keras_sparse._types import Exclude, Groups, LearningRate
from keras_sparse.optimizers.accumulated import GrowingThreshold
from keras_sparse.optimizers.strength import HasStrength


@keras.saving.register_keras_serializable(package="keras_sparse")
class AccumulatedRDA(HasStrength, GrowingThreshold):
    """l1-regularized dual averaging from the initial weights, with a sum of all gradients.

        a_0 = w_0,   a_t = a_{t−1} − learning_rate·g_t,
        k_t = Σ_{i ≤ t} learning_rate·l1 + rho·√t,
        w_t = S(a_t, k_t),   S(x, k) = sign(x)·max(|x| − k, 0)

    It trains networks with and without batch normalisation. (`PublishedRDA` needs normalisation: it
    forgets the initial weights, and takes steps of learning_rate·√t along the mean gradient.) The
    threshold never falls, so a lower learning rate does not revive weights. Biases and
    normalisation parameters follow SGD. Memory: one slot per thresholded weight.

    A NaN gradient makes the weights NaN, as in Keras' optimizers. It does not make them zero,
    because zeros would look sparse. `keras.callbacks.TerminateOnNaN` then stops the training. If
    weights are set by `set_weights` or a callback, the next step continues from them, unless their
    layer has a constraint.

    Args:
        learning_rate: float or schedule. Defaults to 0.1.
        l1: float or schedule, λ in units of the loss per weight. Its scale depends on the network:
            for mean cross-entropy try 1e-4 to 1e-3 on MNIST. Defaults to 1e-4.
        rho: float, the part of λ that falls as 1/√t (the enhanced l1 of Xiao, section 4). Defaults
            to 0.0.
        groups: `"weight"` or `"channel"`: with `"channel"` all weights into one output channel
            become zero together, S(x, k) = x·max(1 − k·√n/‖x‖, 0) for their n weights, and
            `keras_sparse.surgery` can remove the channel. The last kernel, the classifier, is
            still thresholded by weight; it is better to exclude it. If a network has several
            outputs, exclude the layers that compute them:
            `exclude=keras_sparse.output_layers(model)`.
        exclude: variables to keep dense besides biases and normalisation: a regular expression for
            `variable.path`, a built layer, a variable, or a list of those. It stays excluded when
            the model is saved and loaded, and when channels are removed.
        **kwargs: the other arguments of `keras.optimizers.Optimizer`. `weight_decay` and
            `use_ema` are refused. Clipping changes the gradients that `l1` is compared with.

    Raises:
        ValueError: an argument out of its range; `weight_decay` or `use_ema`; on `build`, an
            `exclude` that matches nothing.

    Example:

    >>> model.compile(optimizer=AccumulatedRDA(0.1, l1=1e-3, groups="channel"), loss="mse")

    Reference:
        Xiao, Dual averaging methods for regularized stochastic learning and online optimization,
        JMLR 2010, section 2; with the initial weights as the centre as in Chao et al., Directional
        pruning of deep neural networks, NeurIPS 2020.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.1,
        l1: LearningRate = 1e-4,
        rho: float = 0.0,
        groups: Groups = "weight",
        exclude: Exclude | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, groups=groups, exclude=exclude, **kwargs)
        self._set_strength(l1, rho)

    def _increment(self, learning_rate):
        return ops.cast(learning_rate, "float32") * self._current_l1()

    def _thresholds(self, learning_rate):
        before, threshold = super()._thresholds(learning_rate)
        t = self._step()
        return before + self.rho * ops.sqrt(t - 1.0), threshold + self.rho * ops.sqrt(t)
