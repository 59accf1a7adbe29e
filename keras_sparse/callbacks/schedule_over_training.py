"""Schedules that end at a share of the training."""

import keras

from keras_sparse.loss_scaling import bare_optimizer
from keras_sparse.validation import check_number


class ScheduleOverTraining(keras.callbacks.Callback):
    """Ends the schedule of the optimizer at a share of the training.

    A schedule counts steps: `RDA(ramp_steps=1000)` reaches its target after 1,000 of them. This
    callback computes the number of steps of `fit`, and sets the end of the schedule to a share of
    them. A resumed training continues with the same schedule.

    Args:
        share: float in (0, 1], the share of all steps after which the schedule ends. Defaults to
            None, the optimizer's own default.

    Raises:
        ValueError: a share out of its range; when training begins, an optimizer without such a
            schedule, or data of unknown length.

    Example:

    >>> model.compile(RDA(target_sparsity=0.9), loss)
    >>> model.fit(x, y, epochs=10, callbacks=[ScheduleOverTraining(0.5)])
    """

    def __init__(self, share=None):
        super().__init__()
        self.share = None if share is None else check_number("share", share, "(0, 1]")
        self._is_set = False

    def on_train_begin(self, logs=None):
        """Check the optimizer and the length of the training."""
        self._is_set = False
        optimizer = bare_optimizer(self.model.optimizer)
        if not hasattr(optimizer, "end_schedule"):
            raise ValueError(
                "ScheduleOverTraining needs an optimizer with a schedule, such as "
                f"RDA(target_sparsity=0.9). Received: optimizer={type(optimizer).__name__}"
            )
        if self.params.get("steps") is None:
            raise ValueError(
                "ScheduleOverTraining needs to know how many steps an epoch has. Give "
                "`fit(steps_per_epoch=...)`."
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Set the end of the schedule, in the first epoch of this `fit`."""
        if self._is_set:
            return
        self._is_set = True
        optimizer = bare_optimizer(self.model.optimizer)
        done = int(keras.ops.convert_to_numpy(optimizer.iterations))
        batches = (self.params["epochs"] - epoch) * self.params["steps"]
        total = done + batches // (optimizer.gradient_accumulation_steps or 1)
        share = optimizer.schedule_share if self.share is None else self.share
        optimizer.end_schedule(max(round(share * total), 1))
