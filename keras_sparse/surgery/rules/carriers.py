"""Expresses constant channels as weighted sums of a few of them, the carriers."""

import dataclasses

import numpy as np

# The factors multiply the rounding errors of the carriers, so they must not be too large.
_LARGEST_FACTOR = 20.0
# Carriers that differ by less than this fraction count as equal (cutoff of singular values).
_DISTINCT = 1e-3
# Largest difference of channels that count as equal, in units of the precision.
_EQUAL = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Combination:
    """Channels as sums of others: `carried[j] = shifts[j] + sum_i factors[i, j] carriers[i]`.

    Args:
        carriers, carried: int arrays, indices of channels.
        factors: array `(carriers, carried)`.
        shifts: array `(carried,)`.
        fits: for each carried channel, whether the sum equals it, with factors that are not too
            large.
        rest: for each carried channel, the size of the error of the sum.
    """

    carriers: np.ndarray
    carried: np.ndarray
    factors: np.ndarray
    shifts: np.ndarray
    fits: np.ndarray
    rest: np.ndarray


def combine(values, carriers, carried, shifted, precision):
    """Finds the sums of carriers closest to the carried channels; shifts only if necessary.

    Args:
        values: array `(classes, channels)`, the constants for each class of positions.
        carriers, carried: int arrays, indices of channels.
        shifted: whether a shift may be added, which is the same at all positions.
        precision: float, the relative error of a constant.

    Returns:
        A `Combination`.
    """
    plain = _combine(values, carriers, carried, False, precision)
    if not shifted or plain.fits.all():
        return plain
    return _combine(values, carriers, carried, True, precision)


def _combine(values, carriers, carried, shifted, precision):
    columns, wanted = values[:, carriers], values[:, carried]
    # As large as the largest value: least squares with minimum norm then prefers the shift.
    one = max(np.abs(columns).max(initial=0.0), np.abs(wanted).max(initial=0.0)) if shifted else 0.0
    columns = np.concatenate([columns, np.full((len(values), 1), one)], axis=1)
    factors = np.linalg.lstsq(columns, wanted, rcond=_DISTINCT)[0]
    rest = np.abs(columns @ factors - wanted).max(0, initial=0.0)
    small = rest <= _EQUAL * precision * np.abs(wanted).max(0, initial=0.0)
    *factors, shifts = factors
    factors = np.reshape(factors, (len(carriers), len(carried)))
    fits = small & (np.linalg.norm(factors, axis=0) <= _LARGEST_FACTOR)
    # Of sums with too large factors, the channel with the largest values is the next carrier.
    rest = np.where(small, np.abs(wanted).max(0, initial=0.0), rest)
    return Combination(carriers, carried, factors, shifts * one, fits, rest)


def missing_carriers(values, carriers, carried, shifted, precision):
    """The carried channels that must become carriers too, so that the others can be removed.

    Arguments as for `combine`.

    Returns:
        List of indices.
    """
    found = [_missing(values, carriers, carried, False, precision)]
    if shifted:
        found.append(_missing(values, carriers, carried, True, precision))
    return min(found, key=len)


def _missing(values, carriers, carried, shifted, precision):
    missing = []
    while len(carried):
        own = np.append(carriers, missing).astype(int)
        sums = _combine(values, own, carried, shifted, precision)
        if sums.fits.all():
            break
        worst = np.argmax(np.where(sums.fits, -1.0, sums.rest))
        missing.append(int(carried[worst]))
        carried = np.delete(carried, worst)
    return missing
