"""`python -m export.convert model.keras model.tflite`."""

import os
import sys

# TensorFlow reads this when it is imported; its log would bury the one line that matters.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app

from export import ExportError, convert


def main(argv):
    """Converts the `.keras` file `argv[1]` to the `.tflite` file `argv[2]`."""
    if len(argv) != 3:
        sys.exit("export.convert: give two files, model.keras and model.tflite")
    try:
        result = convert(_load(argv[1]), argv[2])
    except (ExportError, ValueError) as error:
        sys.exit(f"export.convert: {error}")
    print(
        f"{result.path}: {result.bytes / 2**20:.3f} MB, largest difference to Keras "
        f"{result.max_abs_error:.2g} on {result.samples} drawn samples"
    )


def _load(path):
    from keras_sparse.loading import load_model

    return load_model(path)


if __name__ == "__main__":
    app.run(main)
