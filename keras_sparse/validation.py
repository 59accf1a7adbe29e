"""Checks of arguments."""

import math
import numbers

import numpy as np
from keras.optimizers.schedules import LearningRateSchedule

# The numeric arguments of `keras.optimizers.Optimizer`; None means that an argument is not used.
_OPTIMIZER_NUMBERS = {
    "weight_decay": "[0, inf)",
    "clipnorm": "(0, inf)",
    "clipvalue": "(0, inf)",
    "global_clipnorm": "(0, inf)",
    "ema_momentum": "[0, 1]",
    "loss_scale_factor": "(0, inf)",
}
_OPTIMIZER_INTEGERS = ("ema_overwrite_frequency", "gradient_accumulation_steps")


def check_number(name, value, interval="(-inf, inf)"):
    """Check that an argument is a finite number in an interval.

    Args:
        name: str, the name of the argument.
        value: its value. A bool is no number here.
        interval: str in mathematical notation, `"[0, 1)"` or `"(0, inf)"`.

    Returns:
        The value as a Python float, or int if it is an integer.

    Raises:
        ValueError: `value` is no number, is NaN or infinite, or is outside the interval.

    Example:

    >>> self.momentum = check_number("momentum", momentum, "[0, 1)")
    """
    if _is_real(value, numbers.Real) and _is_in(value, interval):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    raise ValueError(
        f"`{name}` must be {_in_words(interval)}, and a finite number. Received: {name}={value!r}"
    )


def check_integer(name, value, interval="(-inf, inf)"):
    """Check that an argument is an integer in an interval; see `check_number`.

    Example:

    >>> self.ramp_steps = check_integer("ramp_steps", ramp_steps, "[1, inf)")
    """
    if _is_real(value, numbers.Integral) and _is_in(value, interval):
        return int(value)
    raise ValueError(
        f"`{name}` must be {_in_words(interval)}, and an integer. Received: {name}={value!r}"
    )


def check_learning_rate(value):
    """Check the `learning_rate` of an optimizer: a number of 0 or more, a schedule or a callable.

    A rate of 0 trains nothing. Callbacks set it, and files and surgery keep it.

    Returns:
        The value; a number becomes a float, because Keras requires one.
    """
    if isinstance(value, LearningRateSchedule) or callable(value):
        return value
    if _is_real(value, numbers.Real) and _is_in(value, "[0, inf)"):
        return float(value)
    raise ValueError(
        "`learning_rate` must be 0 or more, and a finite number, or a schedule. "
        f"Received: learning_rate={value!r}"
    )


def check_optimizer_numbers(arguments):
    """Check the numbers in a dict of arguments for `keras.optimizers.Optimizer`."""
    given = {name: value for name, value in arguments.items() if value is not None}
    for name in given.keys() & _OPTIMIZER_NUMBERS.keys():
        check_number(name, given[name], _OPTIMIZER_NUMBERS[name])
    for name in given.keys() & set(_OPTIMIZER_INTEGERS):
        check_integer(name, given[name], "[1, inf)")


def check_finite_samples(what, array):
    """Refuse samples with NaN or infinity.

    Args:
        what: the name of the samples in the message.
        array: NumPy array of shape `(samples, ...)`.

    Raises:
        ValueError: a number that is not finite; the message has the number of such samples and the
            first.
    """
    finite = np.isfinite(array)
    if not finite.all():
        bad = ~finite.reshape(len(array), -1).all(axis=1)
        raise ValueError(
            f"{what} must be finite. Received: NaN or infinity in {bad.sum()} of {len(array)} "
            f"samples, first in sample {bad.argmax()}"
        )


def _is_real(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _ends(interval):
    return interval.strip("[]()").split(", ")


def _is_in(value, interval):
    low, high = map(float, _ends(interval))
    above = value >= low if interval[0] == "[" else value > low
    return above and (value <= high if interval[-1] == "]" else value < high)


def _in_words(interval):
    low, high = _ends(interval)
    if high != "inf":
        return f"in {interval}"
    if low == "-inf":
        return "a number"
    return f"{low} or more" if interval[0] == "[" else f"above {low}"
