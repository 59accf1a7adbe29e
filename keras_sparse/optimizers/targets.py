"""The warning when a network is not as sparse as requested."""

import math
import warnings

from keras_sparse.variables import share_of_zeros

_TOLERANCE = 0.01


class MissedTargetWarning(UserWarning):
    """Fewer weights are zero than was requested.

    Attributes:
        asked: float, the share of zeros that was requested.
        got: float, the share of zeros that training ended with.
        why: str, the cause and what to change.
    """

    def __init__(self, optimizer, asked, got, why):
        super().__init__(
            f"{_name(optimizer)}: a sparsity of {asked:.3g} was requested, and training ended with "
            f"{got:.3g}. {why}"
        )
        self.asked = float(asked)
        self.got = float(got)
        self.why = why


def _name(optimizer):
    """The name of the class, and the name that users call to make it."""
    name, made_by = type(optimizer).__name__, getattr(optimizer, "made_by", None)
    return name if made_by is None else f"{made_by} ({name})"


def warn_of_missed_target(optimizer, asked, variables, why):
    """Give a `MissedTargetWarning` at the end of `fit` if too few weights are zero.

    An optimizer calls it in `finalize_variable_values`, which `fit` calls when training ends.

    Args:
        optimizer: the optimizer.
        asked: float, the share of zeros that was requested.
        variables: the `keras.Variable`s over which the share is computed.
        why: str, a sentence on the cause and what to change.
    """
    if optimizer.training_goes_on:
        return
    present = sum(math.prod(v.shape) for v in variables)
    alive = present * (1.0 - share_of_zeros(variables))
    got = 1.0 - alive / optimizer.whole_size(variables)
    if got < asked - _TOLERANCE:
        warnings.warn(MissedTargetWarning(optimizer, asked, got, why), stacklevel=2)


def why_too_short(end, steps):
    """The `why` if the schedule ends at step `end`, after a training of `steps` steps."""
    return (
        f"The sparsity rises until step {end}, and training had {steps} steps. Train longer, end "
        "the schedule sooner, or give `fit` the callback `ScheduleOverTraining()`."
    )
