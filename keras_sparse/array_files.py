"""Reading the arrays of a NumPy file."""

import zipfile
import zlib

import numpy as np

# Errors of NumPy, zipfile and zlib for damaged or unsupported files.
_READING_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path):
    """Reads a file that `numpy.save` or `numpy.savez` wrote.

    Args:
        path: the file.

    Returns:
        `{name: array}` for a `.npz` file; the array of a `.npy` file.

    Raises:
        ValueError: a file that is missing, damaged or holds Python objects; the message is the
            reason.

    Example:

    >>> read_arrays("mnist.npz")["x_train"].shape
    (60000, 28, 28)
    """
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return dict(loaded)
    except _READING_ERRORS as error:
        raise ValueError(getattr(error, "strerror", None) or str(error)) from error
