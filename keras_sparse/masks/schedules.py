"""Schedules of a prune rate or a sparsity over training."""

import dataclasses
import math

import keras

from keras_sparse.validation import check_integer, check_number


class Schedule:
    """Base class: a number for each training step.

    Subclasses are frozen dataclasses with an `end`, the step from which on the value is constant,
    and a `__call__(step)` in plain Python.
    """

    def ending_at(self, step: int) -> "Schedule":
        """The same schedule, stretched or shrunk to end at this step.

        Raises:
            ValueError: a schedule that has no end.
        """
        raise ValueError(f"A constant value has no end. Received: {self}")

    def get_config(self):
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_sparse")
@dataclasses.dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """The same value at every step.

    Args:
        value: float in [0, 1].

    Example:

    >>> ConstantSchedule(0.3)(1000)
    0.3
    """

    value: float
    end = 0

    def __post_init__(self):
        check_number("value", self.value, "[0, 1]")

    def __call__(self, step: int) -> float:
        """The value at an int step."""
        return self.value


@dataclasses.dataclass(frozen=True)
class _Ramp(Schedule):
    initial: float
    final: float
    end: int
    begin: int = 0

    def __post_init__(self):
        check_number("initial", self.initial, "[0, 1]")
        check_number("final", self.final, "[0, 1]")
        check_integer("begin", self.begin, "[0, inf)")
        check_integer("end", self.end, "[1, inf)")
        if self.begin >= self.end:
            raise ValueError(
                "A schedule runs from step `begin` to a later step `end`. "
                f"Received: begin={self.begin}, end={self.end}"
            )

    def ending_at(self, step):
        """The same schedule, stretched or shrunk to end at this step."""
        begin = min(round(self.begin * step / self.end), step - 1)
        return dataclasses.replace(self, end=step, begin=begin)

    def __call__(self, step: int) -> float:
        """The value at an int step."""
        done = (step - self.begin) / (self.end - self.begin)
        return self.final + (self.initial - self.final) * self._left(min(max(done, 0.0), 1.0))


@keras.saving.register_keras_serializable(package="keras_sparse")
class LinearSchedule(_Ramp):
    """A straight line from `initial` at step `begin` to `final` at step `end`.

    Args:
        initial: float in [0, 1].
        final: float in [0, 1].
        end: int, the step at which `final` is reached.
        begin: int. Defaults to 0.

    Example:

    >>> LinearSchedule(0.5, 0.0, end=100)(50)
    0.25
    """

    def _left(self, done):
        return 1.0 - done


@keras.saving.register_keras_serializable(package="keras_sparse")
class CosineSchedule(_Ramp):
    """Half a cosine from `initial` at step `begin` to `final` at step `end`.

    The prune rate of sparse momentum (until the last step) and of RigL (until three quarters of the
    steps).

    Args:
        initial: float in [0, 1].
        final: float in [0, 1].
        end: int, the step at which `final` is reached.
        begin: int. Defaults to 0.

    Example:

    >>> CosineSchedule(0.5, 0.0, end=100)(50)
    0.25
    """

    def _left(self, done):
        return 0.5 * (1.0 + math.cos(math.pi * done))


@keras.saving.register_keras_serializable(package="keras_sparse")
class CubicSchedule(_Ramp):
    """The sparsity of gradual pruning: fast at first, and slow when few weights are left.

    `final + (initial - final) * (1 - (step - begin) / (end - begin))**3`

    Args:
        initial: float in [0, 1].
        final: float in [0, 1].
        end: int, the step at which `final` is reached.
        begin: int. Defaults to 0.

    Example:

    >>> CubicSchedule(0.0, 0.8, end=100)(50)
    0.7

    Reference:
        [Zhu and Gupta, 2017](https://arxiv.org/abs/1710.01878), equation 1.
    """

    def _left(self, done):
        return (1.0 - done) ** 3


@keras.saving.register_keras_serializable(package="keras_sparse")
@dataclasses.dataclass(frozen=True)
class InverseTimeSchedule(Schedule):
    """A value that falls as 1/t, for a training of unknown length.

    `initial / (1 + step / halved_at)`, constant from step `100 * halved_at` on. If the length is
    known, use `CosineSchedule`, as the papers do.

    Args:
        initial: float in [0, 1].
        halved_at: int, the step at which half of `initial` is left. Defaults to 500.

    Example:

    >>> InverseTimeSchedule(0.5, halved_at=100)(100)
    0.25
    """

    initial: float
    halved_at: int = 500

    def __post_init__(self):
        check_number("initial", self.initial, "[0, 1]")
        check_integer("halved_at", self.halved_at, "[1, inf)")

    @property
    def end(self):
        """The step from which on the value is constant."""
        return 100 * self.halved_at

    def ending_at(self, step: int) -> "Schedule":
        """A `CosineSchedule` from the same value to 0 at this step."""
        return CosineSchedule(self.initial, 0.0, end=step)

    def __call__(self, step: int) -> float:
        """The value at an int step."""
        return self.initial / (1.0 + min(step, self.end) / self.halved_at)


@keras.saving.register_keras_serializable(package="keras_sparse")
@dataclasses.dataclass(frozen=True)
class OneShotSchedule(Schedule):
    """Zero before a step, then `value`: train, prune at once, fine-tune.

    Args:
        value: float in [0, 1].
        end: int, the step.

    Example:

    >>> model.compile(MagnitudePruning(0.01, OneShotSchedule(0.9, end=2000)), loss)
    """

    value: float
    end: int

    def __post_init__(self):
        check_number("value", self.value, "[0, 1]")
        check_integer("end", self.end, "[1, inf)")

    def ending_at(self, step: int) -> "Schedule":
        """The same value, starting at another step."""
        return dataclasses.replace(self, end=step)

    def __call__(self, step: int) -> float:
        """The value at an int step."""
        return self.value if step >= self.end else 0.0


def as_schedule(name, value):
    """A `Schedule` from the argument `name`: a schedule, a float, or a config."""
    if isinstance(value, dict):
        value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, Schedule):
        return value
    try:
        return ConstantSchedule(float(check_number(name, value, "[0, 1]")))
    except ValueError as error:
        raise ValueError(
            f"{error} Or give a schedule of `keras_sparse`, such as CosineSchedule."
        ) from None
