"""The error of `export` if the work itself fails; bad arguments are a ValueError."""

import textwrap


class ExportError(RuntimeError):
    """A model that cannot be converted, or a TFLite file that is wrong or cannot be run."""


def cannot_convert(model, error):
    """An `ExportError` for an error of TensorFlow's converter, shortened."""
    reason = textwrap.shorten(str(error), 500, placeholder=" ...")
    return ExportError(f"TensorFlow cannot convert {model.name!r}: {reason}")
