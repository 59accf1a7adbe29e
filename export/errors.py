"""The error of `export` if the work itself fails; bad arguments are a ValueError."""


class ExportError(RuntimeError):
    """A model that cannot be converted, or a TFLite file that is wrong or cannot be run."""
