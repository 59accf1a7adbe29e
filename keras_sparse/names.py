"""Names that are not taken yet."""

import itertools


def free_name(*names, is_taken):
    """The first of some names that is free, or the last one with the first free number.

    Args:
        names: str.
        is_taken: function of a name.

    Example:

    >>> free_name("conv", "block_conv", is_taken={"conv", "block_conv"}.__contains__)
    "block_conv_1"
    """
    numbered = (f"{names[-1]}_{n}" for n in itertools.count(1))
    return next(name for name in itertools.chain(names, numbered) if not is_taken(name))
