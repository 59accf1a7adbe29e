"""Measures the size of a Keras model's TFLite files, for `keras_sparse.compress`."""

import pathlib
import tempfile
from typing import TYPE_CHECKING

from export.convert import convert
from export.inputs import draw_samples, input_specs
from export.verify import Tolerance

if TYPE_CHECKING:
    import keras

_KINDS = {"float32_bytes": None, "int8_bytes": "int8"}
# Only the size counts.
_ANY = Tolerance(error=float("inf"), agreement=0.0, accuracy=1.0)


class FileSizes:
    """Measures the TFLite files of a Keras model, in float32 and in int8.

    Pass it to `keras_sparse.compress` as `files`. Each measurement converts the model twice with
    `export.convert`. For int8 the samples are random, because the size does not depend on them.

    Example:

    >>> result = keras_sparse.compress(
    ...     model, data, target={"int8_bytes": "100 kB"}, files=export.FileSizes()
    ... )
    """

    def costs(self, model: "keras.Model") -> dict[str, int]:
        """`{"float32_bytes": bytes, "int8_bytes": bytes}` of a model with inputs of fixed sizes.

        Raises:
            ExportError: the model cannot be converted.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.tflite"
            return {
                name: convert_for_size(model, path, quantize).bytes
                for name, quantize in _KINDS.items()
            }


def convert_for_size(model, path, quantize, **arguments):
    """Converts a model only for its size, with random samples for the ranges of int8.

    Args:
        model, path, quantize, **arguments: see `export.convert`.

    Returns:
        The result of `export.convert`.
    """
    import keras

    samples = None
    if quantize:
        specs = input_specs(model)
        samples = keras.tree.pack_sequence_as(specs, draw_samples(specs))
    return convert(
        model, path, quantize=quantize, representative=samples, tolerance=_ANY, **arguments
    )
