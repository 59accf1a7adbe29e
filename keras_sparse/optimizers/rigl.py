"""RigL: grows where the gradient is largest."""

import keras

from keras_sparse.masks.selection import magnitude_keys, select_largest
from keras_sparse.optimizers.prune_and_regrow import PruneAndRegrow


@keras.saving.register_keras_serializable(package="keras_sparse")
class RigL(PruneAndRegrow):
    """RigL: drops the smallest weights, grows where the gradient is largest.

    The number of weights of each layer is constant. Grown weights are 0, and so is their momentum.
    The step that changes the masks uses its batch only for the gradient of the missing weights. It
    does not train.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        prune_rate: float in [0, 1], a schedule over the steps, or None. The paper anneals it to 0
            at three quarters of training: `CosineSchedule(0.3, 0.0, end=int(0.75 * steps))`. Once
            it is 0, every step trains. Defaults to None, `InverseTimeSchedule(0.3)`, which does not
            depend on the length of the training.
        update_every: int, `"epoch"` (with `steps_per_epoch`), or None for
            `update_masks(gradients)` only. Defaults to 100.
        steps_per_epoch: int, the number of batches of an epoch.
        **kwargs: the other arguments of `WithDensity`: `distribution`, `momentum`, `nesterov`,
            `inner`, `exclude`, `seed`, and those of `keras.optimizers.Optimizer`.

    Example:

    >>> schedule = CosineSchedule(0.3, 0.0, end=int(0.75 * 250 * 390))
    >>> model.compile(RigL(0.1, density=0.1, prune_rate=schedule), "categorical_crossentropy")

    Reference:
        [Evci et al., 2020](https://arxiv.org/abs/1911.11134), algorithm 1.
    """

    schedule_share = 0.75
    needs_gradients = True
    pauses = True

    def _grow(self, snapshot, keep, counts):
        keys = magnitude_keys(snapshot.gradients)
        return select_largest(keys, counts, snapshot.packing, snapshot.missing(keep))
