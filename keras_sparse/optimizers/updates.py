"""Times at which masks change: every so many steps, once an epoch, or on a call."""

from keras_sparse.optimizers.dynamic_mask import DynamicMaskOptimizer
from keras_sparse.validation import check_integer


class UpdatesEvery(DynamicMaskOptimizer):
    """Base of the optimizers whose masks change repeatedly.

    Args:
        learning_rate: float, schedule, callable or None; see `MaskedOptimizer`.
        schedule: a `Schedule`, see `DynamicMaskOptimizer`.
        update_every: int, the number of steps between updates; `"epoch"`, with `steps_per_epoch`;
            or None, only `update_masks()` changes the masks.
        steps_per_epoch: int, the number of batches of an epoch, for `update_every="epoch"`. If it
            is no multiple of `gradient_accumulation_steps`, updates come after the nearest number
            of steps.
        **kwargs: the arguments of the other base class, and of `MaskedOptimizer`.
    """

    def __init__(self, learning_rate, schedule, update_every=100, steps_per_epoch=None, **kwargs):
        if update_every == "epoch":
            if steps_per_epoch is None:
                raise ValueError(
                    "With update_every='epoch' give `steps_per_epoch`, the number of batches; or "
                    "update_every=None and the callback MaskUpdate('epoch')."
                )
            every = check_integer("steps_per_epoch", steps_per_epoch, "[1, inf)")
        elif update_every is None:
            every = None
        else:
            every = check_integer("update_every", update_every, "[1, inf)")
        super().__init__(learning_rate, schedule, every, **kwargs)
        if update_every == "epoch":
            # A step takes several batches where gradients are accumulated.
            self._every = max(round(every / (self.gradient_accumulation_steps or 1)), 1)
        self.update_every = update_every
        self.steps_per_epoch = steps_per_epoch

    def get_config(self):
        return {
            **super().get_config(),
            "update_every": self.update_every,
            "steps_per_epoch": self.steps_per_epoch,
        }
