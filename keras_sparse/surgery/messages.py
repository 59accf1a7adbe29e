"""Errors of Keras and of layers as one line, for reports and messages."""

import re

# What went wrong, in the report that Keras makes of a failed call.
_CAUSE = re.compile(r"\x1b\[1m(?:.*Error encountered:\s+)?(.*?)\x1b\[0m", re.DOTALL)


def one_line(error, most=300):
    """An error's message as one line of at most so many characters."""
    found = _CAUSE.search(str(error))
    text = found[1] if found else str(error)
    return " ".join(text.split())[:most]


def short(error, most=100):
    """The same behind the error's type."""
    return f"{type(error).__name__}: {one_line(error)}"[:most]
