"""Convert a Keras model to a TFLite file, and refuse it if it does not equal the model.

python -m export.convert model.keras model.tflite
python -m export.convert model.keras int8.tflite --quantize=int8 --representative=x.npz
python -m export.convert model.keras any_size.tflite --input_shape=None,None,3
python -m export.convert model.keras model.tflite --import=my_layers
"""

import sys

from absl import flags

from export import ExportError, convert
from export.command_line import (
    check_files,
    classes_or_none,
    clean_up_when_terminated,
    count,
    quiet_import,
    run,
)
from export.convert.settings import Settings
from export.custom_objects import define_import, register_objects
from export.kinds import NAMES, kind_of

_CALIBRATED = 200


def define_flags():
    """Defines the flags; not on import, because other programs share some names."""
    flags.DEFINE_enum("quantize", None, NAMES, "Default: float32.")
    flags.DEFINE_string(
        "representative",
        None,
        "Real samples to compare the file on and, for int8, to calibrate it: a .npy file, or a "
        ".npz file with an array for each input by its name (x for a single one) and, if there "
        "are any, integer labels y; or with x_train and y_train, as apps.compress takes it.",
    )
    flags.DEFINE_enum(
        "input_output", "float32", ["float32", "int8", "uint8"], "int8: what the file takes."
    )
    flags.DEFINE_enum(
        "route", "litert", ["litert", "quantizer"], "int8: TensorFlow or ai-edge-quantizer."
    )
    flags.DEFINE_bool("sparse_encoding", False, "float32, float16: leave zeros out of the file.")
    define_import()
    count("batch_size", 1, "Samples that the file takes at once.")
    flags.DEFINE_multi_string(
        "input_shape",
        [],
        "The sizes, without the batch, of an input that has unknown ones: 224,224,3, or "
        "NAME:224,224,3 for one of several, once for each. None for a size leaves it open.",
    )


def main(argv, values=flags.FLAGS):
    """Converts the `.keras` file `argv[1]` to the `.tflite` file `argv[2]`."""
    if len(argv) != 3:
        sys.exit("export.convert: give two files, model.keras and model.tflite")
    clean_up_when_terminated()
    try:
        result = _convert(*argv[1:], values)
    except (ExportError, ValueError) as error:
        sys.exit(f"export.convert: {error}")
    print(result)


def _convert(source, target, values):
    # Checked before Keras is imported.
    input_shape = _input_shape(values.input_shape)
    check_files(source, target, values.representative)
    Settings(
        values.quantize,
        values.route,
        values.input_output,
        values.sparse_encoding,
        values.representative,
    )
    with quiet_import():
        from export.inputs import input_specs, read_samples
        from export.samples import spread
        from keras_sparse.loading import load_model

    register_objects(getattr(values, "import"))
    model = load_model(source)
    samples = labels = representative = None
    if values.representative:
        import keras

        samples, labels = read_samples(
            values.representative, input_specs(model, input_shape=input_shape)
        )
        if kind_of(values.quantize).calibrated:
            chosen = spread(len(keras.tree.flatten(samples)[0]), _CALIBRATED)
            representative = keras.tree.map_structure(lambda array: array[chosen], samples)
        labels = classes_or_none(labels, model, values.representative)
    return convert(
        model,
        target,
        quantize=values.quantize,
        representative=representative,
        input_output=values.input_output,
        route=values.route,
        sparse_encoding=values.sparse_encoding,
        batch_size=values.batch_size,
        input_shape=input_shape,
        samples=samples,
        labels=labels,
    )


def _input_shape(texts):
    """The argument `input_shape` of `convert`: None, a shape, or a dict of shapes by name."""
    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition(":")
        try:
            shape = tuple(None if size == "None" else int(size) for size in sizes.split(","))
        except ValueError as error:
            raise ValueError(
                "--input_shape must be integers with commas between them, such as 224,224,3, or "
                f"NAME:224,224,3, and None for what stays open. Received: {text}"
            ) from error
        shapes[name] = shape
    if "" in shapes and len(texts) > 1:
        raise ValueError(
            "--input_shape needs the name of its input where it is given more than once, as in "
            f"NAME:224,224,3. Received: {', '.join(texts)}"
        )
    return shapes.get("", shapes) or None


if __name__ == "__main__":
    define_flags()
    run("export.convert", main)
