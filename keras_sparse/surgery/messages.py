"""Shortens errors of Keras and of layers to one line, for reports and messages."""

import re

# The cause of an error, in Keras' report of a failed call.
_CAUSE = re.compile(r"\x1b\[1m(?:.*Error encountered:\s+)?(.*?)\x1b\[0m", re.DOTALL)


def one_line(error, most=300):
    """An error's message as one line of at most `most` characters."""
    found = _CAUSE.search(str(error))
    text = found[1] if found else str(error)
    return " ".join(text.split())[:most]


def short(error, most=100):
    """The type and message of an error as one line of at most `most` characters."""
    return f"{type(error).__name__}: {one_line(error)}"[:most]
