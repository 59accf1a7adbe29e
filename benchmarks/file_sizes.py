"""Compares predicted sizes of TFLite files with those of converted files.

    python -m benchmarks.file_sizes

Weights, biases and statistics are random: equal constants, such as biases that are all zero, are
stored once, and a trained network has none. Each network is measured whole, and with a random width
in every group of channels.
"""

import pathlib
import tempfile
import types

import numpy as np
from absl import app

from benchmarks import compress_networks
from benchmarks.machine import describe
from benchmarks.narrowing import narrowed
from export.file_sizes import convert_for_size
from keras_sparse import models
from keras_sparse.compression import CostModel
from keras_sparse.compression.planning import removable_groups

_OF_MODELS = ("resnet_8", "ds_cnn", "mobilenet_v1", "autoencoder", "lenet_5", "small_cnn")
_TASK = types.SimpleNamespace(input_shape=(32, 32, 3), classes=10)
# Name of a cost to the arguments of `export.convert`.
_FILES = {
    "float32_bytes": {"quantize": None},
    "int8_bytes": {"quantize": "int8"},
    "flash": {"quantize": "int8", "input_output": "int8"},
}


def networks():
    """`{name: network}`, with random weights."""
    found = {name: getattr(models, name)() for name in _OF_MODELS}
    for name, (build, *_) in compress_networks.RECIPES.items():
        found[name] = build(_TASK)
    for model in found.values():
        rng = np.random.default_rng(0)
        for weight in model.weights:
            value = 0.1 * rng.normal(size=weight.shape)
            weight.assign(np.abs(value) + 0.1 if "variance" in weight.path else value)
    return found


def sizes(model):
    """`{cost: (bytes, predicted)}`."""
    costs = CostModel(model, removable_groups(model))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        return {
            name: (
                convert_for_size(model, path, **arguments).bytes,
                costs.total(name, costs.full()),
            )
            for name, arguments in _FILES.items()
        }


def main(_):
    """Prints a row for each network, and the largest error of each cost."""
    print(describe())
    print("| network |" + "".join(f" {name} | predicted / measured |" for name in _FILES))
    print("| --- |" + " ---: | ---: |" * len(_FILES))
    errors = {name: [] for name in _FILES}
    for name, model in networks().items():
        for title, own in ((name, model), (f"{name}, narrowed", narrowed(model, 0)[0])):
            row = sizes(own)
            for cost, (measured, predicted) in row.items():
                errors[cost].append(abs(predicted / measured - 1))
            cells = (f"{m:,} | {p / m:.3f}" for m, p in row.values())
            print(f"| {title} | {' | '.join(cells)} |", flush=True)
    print(", ".join(f"{cost}: at most {max(found):.1%}" for cost, found in errors.items()))


if __name__ == "__main__":
    app.run(main)
