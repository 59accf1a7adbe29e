"""Conversion through `model.export(format="litert")`."""

import contextlib
import dataclasses
import pathlib
import textwrap

from absl import logging

from export.errors import ExportError
from export.inputs import check_samples, input_specs
from export.verify import verify


def convert(model, path, *, samples=None, tolerance=1e-4):
    """Writes a model as a float32 TFLite file with batch size 1, and proves it.

    The file is written under a temporary name, checked by `export.verify`, and only then moved to
    `path`: a file that fails is not left behind, and a good file that was there is kept. Inputs
    keep their Keras names where these are plain identifiers (else `input_0`, ...); outputs are
    named `output_0`, ... or by the keys of a dict.

    Args:
        model: a built `keras.Model` in float32, with one or several inputs and outputs, all
            dimensions but the batch known. Needs the TensorFlow backend.
        path: the file to write, ending in `.tflite`.
        samples: what to compare with Keras, as `model.predict` takes it: an array of shape
            `(n, ...)`, or a list, tuple or dict of them for several inputs. With None, 8 samples
            are drawn from a generator with a fixed seed; real data is the better proof.
        tolerance: largest difference to Keras, relative to the largest absolute value of the
            output.

    Returns:
        The `Verification` of the file: `path`, `bytes`, `operators`, `samples`, `max_abs_error`,
        `max_relative_error`.

    Raises:
        ValueError: a bad argument, before any work.
        ExportError: the model cannot be converted, or the file is not equal to the model.

    Example:

    >>> model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    >>> convert(model, "model.tflite", samples=x_test[:100]).bytes
    32588
    """
    from keras_sparse.files import replacing

    path = pathlib.Path(path)
    specs = input_specs(model)
    _check(model, path)
    if samples is not None:
        check_samples(samples, specs)
    with replacing(path) as temporary:
        _write(model, temporary, specs)
        try:
            result = verify(model, temporary, samples=samples, tolerance=tolerance)
        except ExportError as error:
            # The temporary name means nothing to the user.
            raise ExportError(str(error).replace(str(temporary), str(path))) from error
    return dataclasses.replace(result, path=path)


def _check(model, path):
    import keras

    from keras_sparse.variables import layers_of_type

    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Conversion to TFLite needs the TensorFlow backend: save the model and convert it in "
            "a process with KERAS_BACKEND=tensorflow. Received: backend="
            f"{keras.backend.backend()!r}"
        )
    if path.suffix != ".tflite":
        raise ValueError(f"`path` must end in '.tflite'. Received: path={path}")
    for layer in layers_of_type(model, keras.Layer):
        if "float" in layer.compute_dtype and layer.compute_dtype != "float32":
            raise ValueError(
                f"`model` must compute in float32; layer {layer.name!r} computes in "
                f"{layer.compute_dtype}. Build the model again with the dtype policy 'float32' "
                "and copy the weights: new_model.set_weights(model.get_weights())."
            )
    outputs = getattr(model, "output", None) if getattr(model, "outputs", None) else None
    if any(len(keys) > 1 for keys, _ in keras.tree.flatten_with_path(outputs)):
        raise ValueError(
            "`model` has nested outputs; TFLite knows a tensor, a flat list or a flat dict. "
            f"Received: outputs={keras.tree.map_structure(lambda tensor: tensor.name, outputs)}"
        )


def _write(model, path, specs):
    try:
        with _quiet():
            model.export(path, format="litert", input_signature=[specs], verbose=False)
    except Exception as error:  # the converter raises errors of many types, pages long
        reason = textwrap.shorten(str(error), 500, placeholder=" ...")
        raise ExportError(f"TensorFlow cannot convert {model.name!r}: {reason}") from error


@contextlib.contextmanager
def _quiet():
    """Keeps TensorFlow's notes on its temporary SavedModel from an absl program's log."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
