"""The loss of static int8, and the gain of quantization-aware training.

    python -m apps.train --seed=0 --out=runs/0
    python -m benchmarks.quantization_aware --runs=runs/0

Networks that `apps.train` trained and cut; accuracy on all test images of Keras' float32 network
and of the int8 files. Prints a Markdown table.
"""

import json
import pathlib
import tempfile

import keras
from absl import app, flags

import keras_sparse  # noqa: F401 registers what the saved models name
from benchmarks import machine
from export import Tolerance, convert, quantization_aware
from keras_sparse import data

RUNS = flags.DEFINE_list("runs", ["runs/digits"], "Folders that apps.train wrote.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with DATASET.npz; not for the digits.")
EPOCHS = flags.DEFINE_integer("epochs", 2, "Of quantization-aware training.")
IMAGES = flags.DEFINE_integer("images", None, "Training images for it. Default: all.")
LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-4, "For it.")
ANY = Tolerance(error=1.0, agreement=0.0, accuracy=1.0)  # to see losses, not to refuse them


def main(_):
    print(f"{machine.describe()}\n")
    print("| run | test images | float32 | static int8 | quantization-aware, int8 |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for run in map(pathlib.Path, RUNS.value):
        report = json.loads((run / "report.json").read_text())
        digits = report["dataset"] == "digits"
        dataset = data.load(report["dataset"], None if digits else DATA_DIR.value)
        model = keras.saving.load_model(run / "compact.keras", compile=False)
        static, aware = measure(model, dataset, report["seed"])
        name = f"{report['dataset']}, {report['model']}, seed {report['seed']}"
        figures = (static.keras_accuracy, static.accuracy, aware.accuracy)
        cells = " | ".join(f"{figure:.4f}" for figure in figures)
        print(f"| {name} | {static.samples:,} | {cells} |", flush=True)


def measure(model, dataset, seed):
    """Verifications of the static and of the trained int8 file."""
    test = {"samples": dataset.x_test, "labels": dataset.y_test, "tolerance": ANY}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        calibration = dataset.x_train[:200]
        static = convert(model, path, quantize="int8", representative=calibration, **test)
        aware = quantization_aware(
            model,
            path,
            dataset.x_train[: IMAGES.value],
            dataset.y_train[: IMAGES.value],
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            epochs=EPOCHS.value,
            learning_rate=LEARNING_RATE.value,
            seed=seed,
            **test,
        )
    return static, aware


if __name__ == "__main__":
    app.run(main)
