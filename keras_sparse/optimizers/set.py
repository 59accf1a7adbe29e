"""SET: sparse evolutionary training."""

import keras
from keras import ops

from keras_sparse.masks.selection import select_largest
from keras_sparse.optimizers.prune_and_regrow import PruneAndRegrow


@keras.saving.register_keras_serializable(package="keras_sparse")
class SET(PruneAndRegrow):
    """Sparse evolutionary training: prunes the weights nearest 0, grows as many at random.

    Each update drops a share of a layer's positive weights, the smallest ones, and the same share
    of its negative weights, those nearest 0. It grows as many at random places of the same layer.

    Args:
        learning_rate: float, schedule, callable or None. Defaults to None: Adam inside, at 3e-3;
            see `inner` of `MaskedOptimizer`.
        density: float in (0, 1], the share of the sparse weights that are kept. Defaults to 0.1.
        prune_rate: float in [0, 1], a schedule over the steps, or None. Defaults to None,
            `InverseTimeSchedule(0.3)`, which does not depend on the length of the training.
        update_every: int, `"epoch"` (with `steps_per_epoch`), or None for `update_masks()` only.
            The paper updates once an epoch. Defaults to 100.
        steps_per_epoch: int, the number of batches of an epoch.
        **kwargs: the other arguments of `WithDensity`: `distribution`, `momentum`, `nesterov`,
            `inner`, `exclude`, `seed`, and those of `keras.optimizers.Optimizer`.

    Example:

    >>> model.compile(SET(0.1, density=0.05, update_every="epoch", steps_per_epoch=600), "mse")

    Reference:
        [Mocanu et al., 2018](https://arxiv.org/abs/1707.04780), algorithm 2.
    """

    def _keep(self, snapshot, counts):
        return keep_by_sign(snapshot, counts)


def keep_by_sign(snapshot, counts):
    """Packed bool: the `counts` weights of each layer that stay, split between the signs.

    Positive and negative weights stay in proportion to their numbers. A weight that is still 0
    counts as positive.
    """
    packing = snapshot.packing
    positive = ops.logical_and(snapshot.mask, snapshot.weights >= 0)
    # Not `< 0`: a NaN must count as positive or negative, or it would be lost.
    negative = ops.logical_xor(snapshot.mask, positive)
    positives = packing.count(positive)
    share = ops.cast(positives, "float32") / ops.cast(snapshot.nonzeros, "float32")
    kept_positive = ops.cast(ops.round(share * ops.cast(counts, "float32")), "int32")
    # Rounding must not keep more weights of a sign than there are.
    negatives = snapshot.nonzeros - positives
    kept_positive = ops.clip(kept_positive, ops.maximum(counts - negatives, 0), positives)
    kept_positive = ops.minimum(kept_positive, counts)
    keys = snapshot.weight_keys
    return ops.logical_or(
        select_largest(keys, kept_positive, packing, positive),
        select_largest(keys, counts - kept_positive, packing, negative),
    )
