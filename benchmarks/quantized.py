"""Float32, float16, dynamic and int8 files of four networks, before and after surgery.

    python -m apps.train --out=runs/digits
    python -m benchmarks.quantized --run=runs/digits

The classifier of the digits is the trained one; the others have random weights on 32x32 images and
half of their channels dead. Prints Markdown tables.
"""

import math
import pathlib
import tempfile

import keras
import numpy as np
from absl import app, flags

import keras_sparse  # noqa: F401 registers what the saved model names
from benchmarks import machine
from export import benchmark
from export.kinds import NAMES
from export.quantize import variants
from export.verify import Tolerance
from keras_sparse import data, models, surgery
from keras_sparse.channels import channel_weight, layers_with_channels

RUN = flags.DEFINE_string("run", "runs/digits", "Folder that apps.train wrote.")
NETWORKS = flags.DEFINE_list(
    "networks", ["digits", "mobilenet_v2", "resnet_18", "vgg16"], "Which to measure."
)
ROUNDS = flags.DEFINE_integer("rounds", 30, "Rounds of the timing.")
SAMPLES = flags.DEFINE_integer("samples", 100, "Random images to calibrate and to compare on.")
# Rounding errors of random networks do not matter here; they are only reported.
ANY = Tolerance(error=math.inf, agreement=0.0, accuracy=1.0)
SHAPE = (32, 32, 3)


def main(_):
    print(f"{machine.describe()}\n")
    for name in NETWORKS.value:
        model, options = trained() if name == "digits" else half_dead(name)
        compact, report = surgery.remove_dead_channels(model)
        before, after = report.macs
        print(f"## {name}: {before:,} MACs to {after:,}, {after / before:.3f}\n", flush=True)
        print("\n".join(measure({name: model, f"{name}-small": compact}, options)), flush=True)
        print()


def trained():
    digits = data.load("digits")
    model = keras.saving.load_model(pathlib.Path(RUN.value) / "model.keras", compile=False)
    return model, {
        "samples": digits.x_test,
        "labels": digits.y_test,
        "representative": digits.x_train[:200],
    }


def half_dead(name):
    keras.utils.set_random_seed(0)
    model = {
        "mobilenet_v2": lambda: keras.applications.MobileNetV2(
            SHAPE, weights=None, classes=10, classifier_activation=None
        ),
        "resnet_18": lambda: models.resnet_18(SHAPE, 10),
        "vgg16": lambda: models.vgg16_bn(SHAPE, 10),
    }[name]()
    *inner, _ = layers_with_channels(model)  # the channels of the last layer are the classes
    for layer in inner:
        kill_half(layer)
    images = np.random.default_rng(0).normal(size=(SAMPLES.value, *SHAPE)).astype("float32")
    normalise(model, images[:64])
    return model, {"samples": images, "representative": images, "tolerance": ANY}


def kill_half(layer):
    """Kill half of the channels, the same in all layers of a width, so that sums are dead too."""
    weight, axes = channel_weight(layer)
    value = keras.ops.convert_to_numpy(weight).copy()
    width = value.shape[axes[-1]]
    dead = np.random.default_rng(width).permutation(width)[: width // 2]
    np.moveaxis(value, axes[-1], 0)[dead] = 0
    weight.assign(value)


def normalise(model, images):
    """Set statistics of batch normalisation from one batch; otherwise random networks explode."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def measure(networks, options):
    """Lines of a table, with the latency ratio of one and of two threads."""
    with tempfile.TemporaryDirectory() as folder:
        found = variants.write_variants(networks, folder, NAMES, **options)
        paths = variants.paths(found)
        one, two = (benchmark(paths, num_threads=n, rounds=ROUNDS.value) for n in (1, 2))
        rows = variants.rows(found, one)
    lines = variants.markdown(rows)
    lines[0] += " 2 threads |"
    lines[1] += " ---: |"
    for number, ratio in enumerate(two.ratios, 2):
        lines[number] += f" {ratio:.3f} |"
    return lines


if __name__ == "__main__":
    app.run(main)
