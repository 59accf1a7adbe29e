"""Convolutional models of KerasHub as TFLite files, before and after surgery.

    python -m benchmarks.families_tflite

Small configurations with Keras' own initial weights; 30% of each kernel's columns are zero. Each
model is converted to float32 and int8, whole and cut, with the check of `export.convert`. The table
has the bytes of the files and the largest difference to Keras, in units of the output's scale.
"""

import pathlib
import re
import tempfile

import keras
import numpy as np
from absl import app, flags

from benchmarks.hub_models import MODELS
from export import ExportError, convert
from keras_sparse import surgery

NAMES = (
    *("ResNet", "ResNetV2", "ResNet-vd", "VGG", "DenseNet", "MobileNetV3", "EfficientNet"),
    *("EfficientNetV2, fused", "CSPDarkNet", "HGNetV2"),
)
KINDS = {"float32": None, "int8": "int8"}
ONLY = flags.DEFINE_string("only", "", "regular expression for the models' names")


def kill(model, share=0.3):
    """Set a share of the columns of each kernel to zero."""
    for weight in model.weights:
        if weight.path.endswith("kernel") and weight.shape[-1] > 3:
            value = keras.ops.convert_to_numpy(weight).copy()
            value[..., : int(share * weight.shape[-1])] = 0
            weight.assign(value)


def converted(model, images, folder):
    """`{kind: (bytes, error) or the reason why there is no file}`."""
    found = {}
    for kind, quantize in KINDS.items():
        path = pathlib.Path(folder) / f"{kind}.tflite"
        try:
            result = convert(
                model,
                path,
                quantize=quantize,
                representative=images,
                samples=images[:8],
                input_shape=images.shape[1:],
            )
            found[kind] = path.stat().st_size, result.max_relative_error
        except ExportError as error:
            text = " ".join(str(error).replace(str(path), "the file").split())
            found[kind] = text.partition(", ")[0]
    return found


def main(_):
    images = np.random.default_rng(0).normal(size=(32, 32, 32, 3)).astype("float32")
    print("| model | kind | bytes | cut | | difference | cut |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name in NAMES:
        if not re.search(ONLY.value, name):
            continue
        keras.utils.set_random_seed(0)
        model = MODELS[name]()
        kill(model)
        compact, _ = surgery.remove_dead_channels(model)
        with tempfile.TemporaryDirectory() as folder:
            before, after = (converted(network, images, folder) for network in (model, compact))
        for kind in KINDS:
            print(row(name, kind, before[kind], after[kind]), flush=True)
        keras.utils.clear_session()


def row(name, kind, before, after):
    """One line of the table."""
    if isinstance(before, str) or isinstance(after, str):
        return f"| {name} | {kind} | {before} | {after} | | | |"
    (bytes_before, error), (bytes_after, error_after) = before, after
    share = bytes_after / bytes_before
    return (
        f"| {name} | {kind} | {bytes_before:,} | {bytes_after:,} | {share:.0%} | {error:.1e} "
        f"| {error_after:.1e} |"
    )


if __name__ == "__main__":
    app.run(main)
