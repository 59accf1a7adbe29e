"""An estimate of whether removing channels saves time."""

import dataclasses

# Savings must be above twice the costs: a part of a step's time does not depend on the MACs.
_MARGIN = 2.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The cost and the savings of removing the dead channels now.

    Attributes:
        epochs_left: number of epochs still to train.
        epoch_seconds: time of the fastest epoch of the current network, except the first; None
            before there is one.
        compile_seconds: the additional time of the first epoch, for tracing and compiling.
        surgery_seconds: time of surgery.
        macs: multiply-accumulates for one sample, `(before, after)`.
        parameters: `(before, after)`.
    """

    epochs_left: int
    epoch_seconds: float | None
    compile_seconds: float | None
    surgery_seconds: float
    macs: tuple[int, int]
    parameters: tuple[int, int]

    @property
    def seconds_saved(self):
        """The time saved in the remaining epochs, in proportion to the MACs."""
        before, after = self.macs
        share = 1.0 - after / before if before else 0.0
        return self.epochs_left * (self.epoch_seconds or 0.0) * share

    @property
    def seconds_spent(self):
        """The time of surgery and of compiling the compact network."""
        return (self.compile_seconds or 0.0) + self.surgery_seconds

    @property
    def pays(self):
        """Whether it saves more than twice its cost."""
        return self.epoch_seconds is not None and self.seconds_saved > _MARGIN * self.seconds_spent


class Stopwatch:
    """The times of one network's epochs."""

    def __init__(self):
        self._seconds = []

    def add(self, seconds):
        """Note the time of an epoch."""
        self._seconds.append(seconds)

    @property
    def epoch_seconds(self):
        """Time of the fastest epoch after the first; None before there is one."""
        return min(self._seconds[1:], default=None)

    @property
    def compile_seconds(self):
        """Additional time of the first epoch; None before there is a second one."""
        steady = self.epoch_seconds
        return None if steady is None else max(self._seconds[0] - steady, 0.0)
