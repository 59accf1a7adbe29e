"""`python -m export.convert model.keras model.tflite --quantize=int8 --representative=x.npz`."""

import os
import sys

# TensorFlow reads this when it is imported; its log would bury the one line that matters.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

from export import ExportError, convert

_CALIBRATED = 200


def define_flags():
    """Defines the flags; not on import, since other programs have some of the same names."""
    flags.DEFINE_enum("quantize", None, ["float16", "dynamic", "int8"], "Default: float32.")
    flags.DEFINE_string(
        "representative",
        None,
        "Real samples to compare the file on and, for int8, to calibrate it: a .npy file, or a "
        ".npz file with an array for each input by its name (x for a single one) and, if there "
        "are any, integer labels y.",
    )
    flags.DEFINE_enum(
        "input_output", "float32", ["float32", "int8", "uint8"], "int8: what the file takes."
    )
    flags.DEFINE_enum(
        "route", "litert", ["litert", "quantizer"], "int8: TensorFlow or ai-edge-quantizer."
    )
    flags.DEFINE_bool("sparse_encoding", False, "float32, float16: leave zeros out of the file.")
    flags.DEFINE_integer("batch_size", 1, "Samples that the file takes at once.", lower_bound=1)


def main(argv, values=flags.FLAGS):
    """Converts the `.keras` file `argv[1]` to the `.tflite` file `argv[2]`."""
    if len(argv) != 3:
        sys.exit("export.convert: give two files, model.keras and model.tflite")
    try:
        result = _convert(*argv[1:], values)
    except (ExportError, ValueError) as error:
        sys.exit(f"export.convert: {error}")
    print(
        f"{result.path}: {result.bytes / 2**20:.3f} MB, largest difference to Keras "
        f"{result.max_abs_error:.2g} on {result.samples} {'drawn ' * result.drawn}samples"
        + (f", same predictions {result.agreement:.2%}" if _is_told(result) else "")
        + (
            f", accuracy {result.keras_accuracy:.4f} to {result.accuracy:.4f}"
            if result.accuracy is not None
            else ""
        )
    )


def _convert(source, target, values):
    from export.inputs import input_specs, read_samples
    from keras_sparse.loading import load_model

    model = load_model(source)
    samples = labels = representative = None
    if values.representative:
        import keras

        samples, labels = read_samples(values.representative, input_specs(model))
        if values.quantize == "int8":
            representative = keras.tree.map_structure(lambda array: array[:_CALIBRATED], samples)
    return convert(
        model,
        target,
        quantize=values.quantize,
        representative=representative,
        input_output=values.input_output,
        route=values.route,
        sparse_encoding=values.sparse_encoding,
        batch_size=values.batch_size,
        samples=samples,
        labels=labels,
    )


def _is_told(result):
    return result.agreement is not None and not result.drawn


if __name__ == "__main__":
    define_flags()
    app.run(main)
