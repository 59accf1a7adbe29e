"""What static int8 loses on MNIST, and what quantization-aware training recovers.

    python -m benchmarks.quantization_aware --data_dir=FOLDER

LeNet-5 with batch normalisation, trained by dual averaging by channel and cut; accuracy on the
test images of Keras' float32 network and of the int8 files. Prints a Markdown table.
"""

import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import keras_sparse
from benchmarks import machine
from export import Tolerance, convert, quantization_aware
from keras_sparse import data, models, surgery

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist.npz.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Runs.")
IMAGES = flags.DEFINE_integer("images", 60000, "Training images that are used.")
EPOCHS = flags.DEFINE_integer("epochs", 6, "Of training; the last third keeps zeros.")
EPOCHS_INT8 = flags.DEFINE_integer("epochs_int8", 1, "Of quantization-aware training.")
ANY = Tolerance(error=1.0, agreement=0.0, accuracy=1.0)  # to see losses, not to refuse them


def main(_):
    mnist = data.load("mnist", DATA_DIR.value)
    x, y = mnist.x_train[: IMAGES.value], mnist.y_train[: IMAGES.value]
    test = {"samples": mnist.x_test, "labels": mnist.y_test, "tolerance": ANY}
    print(f"{machine.describe()}\n")
    print("| seed | parameters left | float32 | static int8 | quantization-aware, int8 |")
    print("| ---: | ---: | ---: | ---: | ---: |", flush=True)
    for seed in range(SEEDS.value):
        model, left = trained(mnist, x, y, seed)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.tflite"
            static = convert(model, path, quantize="int8", representative=x[:200], **test)
            aware = quantization_aware(
                model,
                path,
                x,
                y,
                loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                epochs=EPOCHS_INT8.value,
                seed=seed,
                **test,
            )
        figures = (left, static.keras_accuracy, static.accuracy, aware.accuracy)
        print(f"| {seed} | {' | '.join(f'{figure:.4f}' for figure in figures)} |", flush=True)


def trained(mnist, x, y, seed):
    """The network without its dead channels, and the share of its parameters that is left."""
    keras.utils.set_random_seed(seed)
    start = keras_sparse.ScaledUniform(3.0)
    model = models.lenet_5(mnist.input_shape, 10, batch_norm=True, kernel_initializer=start)
    model.compile(
        keras_sparse.RDA(1.0, l1=1e-3, form="published", groups="channel", exclude="logits/"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    retrain = keras_sparse.callbacks.AdaptiveSparseRetraining(EPOCHS.value - EPOCHS.value // 3)
    model.fit(x, y, batch_size=100, epochs=EPOCHS.value, callbacks=[retrain], verbose=0)
    smaller, report = surgery.remove_dead_channels(model)
    before, after = report.parameters
    return smaller, np.divide(after, before)


if __name__ == "__main__":
    app.run(main)
