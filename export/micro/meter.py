"""Measures arena and flash of a Keras model, for `keras_sparse.compress`."""

import pathlib
import tempfile
from typing import TYPE_CHECKING

from export.errors import ExportError
from export.file_sizes import convert_for_size
from export.micro.measuring import arena_of
from export.micro.process import check_installed

if TYPE_CHECKING:
    import keras


class Micro:
    """Measures the arena and the flash that a Keras model takes in int8.

    Both are measured on the file that `export.convert` makes with `quantize="int8"` and
    `input_output="int8"`. Pass it to `keras_sparse.compress` as `micro`. Each measurement converts
    the model, with random samples for its ranges, because neither number depends on them.

    Raises:
        ExportError: `tflite-micro` is not installed.

    Example:

    >>> result = keras_sparse.compress(
    ...     model, data, target={"arena": "40 kB", "flash": "60 kB"}, micro=export.Micro()
    ... )
    """

    def __init__(self) -> None:
        check_installed()

    def costs(self, model: "keras.Model") -> dict[str, int]:
        """`{"arena": bytes, "flash": bytes}` of a model with one input of fixed sizes.

        Raises:
            ExportError: the model has other inputs, or operators that the runtime lacks.
        """
        _check_inputs(model)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.tflite"
            file = convert_for_size(model, path, "int8", input_output="int8")
            return {"arena": arena_of(path), "flash": file.bytes}


def _check_inputs(model):
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    if len(shapes) != 1 or None in shapes[0]:
        raise ExportError(
            "`Micro` measures models with one input of fixed sizes. Build the model with the sizes "
            f"of the device. Received: inputs of shape {shapes}"
        )
