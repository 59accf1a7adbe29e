"""Train a Keras model for int8, then convert it to a TFLite file.

python -m export.quantize model.keras int8.tflite --data=train.npz
python -m export.quantize model.keras int8.tflite --data=train.npz --epochs=5 --learning_rate=1e-4
python -m export.quantize model.keras int8.tflite --data=train.npz --input_output=int8
"""

import math
import sys

from absl import flags

from export import ExportError, quantization_aware
from export.command_line import check_files, clean_up_when_terminated, count, quiet_import, run
from export.custom_objects import define_import, register_objects


def define_flags():
    """Defines the flags; not on import, because other programs share some names."""
    flags.DEFINE_string(
        "data",
        None,
        "A .npz file with x (or an array for each input by its name) and targets y; or with "
        "x_train and y_train, as apps.compress takes it.",
    )
    flags.DEFINE_string("loss", None, "Keras loss. Default: that of the compiled model.")
    define_import()
    count("epochs", 1, "Passes over the data.")
    count("batch_size", 32, "Samples a step.")
    flags.DEFINE_float("learning_rate", 1e-4, "Of Adam.")
    flags.DEFINE_enum(
        "input_output", "float32", ["float32", "int8", "uint8"], "What the file takes and gives."
    )
    flags.DEFINE_integer("seed", 0, "Of the order of the samples.")


def main(argv, values=flags.FLAGS):
    """Trains the `.keras` file `argv[1]` and writes the `.tflite` file `argv[2]`."""
    if len(argv) != 3 or not values.data:
        sys.exit("export.quantize: give two files, model.keras and model.tflite, and --data")
    clean_up_when_terminated()
    try:
        result = _train(*argv[1:], values)
    except (ExportError, ValueError) as error:
        sys.exit(f"export.quantize: {error}")
    print(result)


def _train(source, target, values):
    # Check this before Keras is imported.
    check_files(source, target, values.data)
    if not 0 < values.learning_rate < math.inf:
        raise ValueError(
            f"--learning_rate must be above 0, and finite. Received: {values.learning_rate}"
        )
    with quiet_import():
        import keras_sparse  # noqa: F401 registers what the model may name
        from export.inputs import input_specs, read_samples
        from keras_sparse.loading import load_model

    register_objects(getattr(values, "import"))
    # Compiled only without `--loss`, because training then uses the model's loss.
    model = load_model(source, compile=not values.loss)
    x, y = read_samples(values.data, input_specs(model))
    if y is None:
        raise ValueError(f"{values.data} has no targets `y`")
    return quantization_aware(
        model,
        target,
        x,
        y,
        loss=values.loss,
        epochs=values.epochs,
        batch_size=values.batch_size,
        learning_rate=values.learning_rate,
        input_output=values.input_output,
        seed=values.seed,
        verbose=2,
    )


if __name__ == "__main__":
    define_flags()
    run("export.quantize", main)
