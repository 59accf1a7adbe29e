"""Constants in the place of channels that are dropped, for what follows needs a value there."""

import keras
import numpy as np


def filled(tensor, value, wanted, constants):
    """A tensor of the compact model with all of the channels that are wanted.

    Args:
        tensor: what is left of `value`: the channels that are kept, all of which are wanted.
        value: the `FollowedValue` in the large model.
        wanted: boolean array with an entry for each channel.
        constants: array with the rank of the tensor, or a shorter one, that broadcasts to it; the
            values of the channels, which are read where one is wanted and not kept.
    """
    kept, axis = value.keep, value.axis
    if kept[wanted].all():
        return tensor
    places = np.where(kept, np.cumsum(kept) - 1, kept.sum())[wanted]
    zero = keras.ops.zeros_like(keras.ops.take(tensor, np.zeros(1, "int32"), axis=axis))
    whole = keras.ops.concatenate([tensor, zero], axis=axis)
    whole = keras.ops.take(whole, places.astype("int32"), axis=axis)
    row = [1] * -axis
    row[axis] = -1
    constants = np.where(kept.reshape(row), 0.0, constants)
    constants = np.compress(wanted, constants, axis=axis)
    return whole + constants.astype(value.dtype) if constants.any() else whole


def filled_row(tensor, value, wanted):
    """The same with the constant that a channel has at all positions."""
    row = [1] * -value.axis
    row[value.axis] = -1
    return filled(tensor, value, wanted, value.constants.uniform.reshape(row))
