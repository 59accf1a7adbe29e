"""The values of a tensor's channels that do not depend on the model's input."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Partition:
    """A partition of positions into classes; equal fields mean the same partition.

    Args:
        key: identifies the partition.
        shares: None, or for each class the fraction of positions in it.
    """

    key: object
    shares: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Constants:
    """The value of each channel that does not depend on the model's input.

    Most channels have one value at all positions. After zero padding and 'same' convolutions a
    channel has a few values, which depend on the distance from the border. So `values` has one row
    for each class of positions. Which position belongs to which class is not recorded, but it is
    the same for tensors with the same `profile`.

    Args:
        values: float64 array `(classes, channels)`. A column of NaN is a channel that depends on
            the input.
        profile: None if there is one class, else any object that identifies the partition of the
            positions; a `Partition` if more is known about it.
    """

    values: np.ndarray
    profile: object = None

    @classmethod
    def unknown(cls, channels):
        """Every channel depends on the input."""
        return cls(np.full((1, channels), np.nan))

    @classmethod
    def of(cls, values, profile=None):
        """Constants from rows of values; a channel that is not finite everywhere is unknown."""
        values = np.array(values, np.float64, ndmin=2)
        values[:, ~np.isfinite(values).all(0)] = np.nan
        return cls(values, profile if len(values) > 1 else None)

    @property
    def known(self):
        """Which channels do not depend on the input."""
        return ~np.isnan(self.values[0])

    @property
    def uniform(self):
        """`(channels,)`: the value that a channel has at every position, NaN if there is none."""
        first = self.values[0]
        if len(self.values) == 1:
            return first
        return np.where((self.values == first).all(0), first, np.nan)

    @property
    def _shares(self):
        """For each class the fraction of positions in it; None if unknown."""
        return getattr(self.profile, "shares", None)

    @property
    def mean(self):
        """`(channels,)`: the mean over all positions, NaN if it is not known."""
        return self.uniform if self._shares is None else np.array(self._shares) @ self.values

    @property
    def largest(self):
        """`(channels,)`: the largest value at any position, NaN if it is not known."""
        return self.uniform if self._shares is None else self.values.max(0)

    def moved(self, channels, key, all_left):
        """The constants of a list of channels after their positions were reordered.

        Args:
            channels: int array.
            key: identifies the new order.
            all_left: whether a sample still has all of its positions, each equally often.
        """
        shares = self._shares if all_left else None
        return Constants.of(self.values[:, channels], Partition((self.profile, key), shares))

    def sampled(self, key):
        """The constants after some positions were dropped; `key` identifies which."""
        return self.moved(slice(None), key, all_left=False)

    def flattened(self):
        """These constants without the ones that depend on the position."""
        return self if self.profile is None else Constants(self.uniform[None])

    def take(self, channels):
        """The constants of a list of channels, in that order."""
        return Constants(self.values[:, channels], self.profile)

    def map(self, function):
        """The constants after an elementwise function of `(classes, channels)`."""
        known = self.known
        if not known.any():
            return self
        values = np.full(self.values.shape, np.nan)
        values[:, known] = function(np.where(known, self.values, 0.0))[:, known]
        return Constants.of(values, self.profile)


def align(constants):
    """Constants of several tensors over one partition of the positions.

    Args:
        constants: list of `Constants`.

    Returns:
        `(rows, profile)`: a list of arrays `(classes, channels)` with the same number of classes,
        and their profile. If the partitions differ, values that depend on the position become
        NaN.
    """
    profiles = {c.profile for c in constants if c.profile is not None}
    if len(profiles) > 1:
        constants = [c.flattened() for c in constants]
        profiles = set()
    classes = max((len(c.values) for c in constants), default=1)
    rows = [np.broadcast_to(c.values, (classes, c.values.shape[1])) for c in constants]
    return rows, profiles.pop() if profiles else None


def array_row(array, axis):
    """An array operand as constants `(1, channels)`, NaN where it depends on the position."""
    array = np.asarray(array, np.float64)
    if array.ndim < -axis:
        channels = array.reshape(-1, 1)
    else:
        channels = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
    same = (channels == channels[:1]).all(0)
    return np.where(same, channels[:1], np.nan)
