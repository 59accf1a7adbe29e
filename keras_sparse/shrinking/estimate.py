"""Whether it pays to remove channels now."""

import dataclasses

# A part of a step's time does not depend on the multiply-accumulates.
_MARGIN = 2.0


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What removing the dead channels now would cost and save.

    Attributes:
        epochs_left: epochs that are still to be trained.
        epoch_seconds: the fastest epoch of the present network, its first one aside; None before
            there is one.
        compile_seconds: by how much its first epoch took longer: tracing and compiling.
        surgery_seconds: how long surgery took.
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
        """How much shorter the remaining epochs would be, in proportion to the MACs."""
        before, after = self.macs
        share = 1.0 - after / before if before else 0.0
        return self.epochs_left * (self.epoch_seconds or 0.0) * share

    @property
    def seconds_spent(self):
        """How long surgery took, and compiling the compact network will take."""
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
        """Of an epoch with everything compiled; None before there was one."""
        return min(self._seconds[1:], default=None)

    @property
    def compile_seconds(self):
        """By how much the first epoch took longer; None before there was another."""
        steady = self.epoch_seconds
        return None if steady is None else max(self._seconds[0] - steady, 0.0)
