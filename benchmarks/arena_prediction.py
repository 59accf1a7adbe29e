"""Compares predicted and measured arenas of `keras_sparse.plan`.

    python -m benchmarks.arena_prediction --shapes=50

Networks of MLPerf Tiny lose random channels, so that every group has a random width. Each is
predicted from the large network, then made, converted to int8 and measured by LiteRT for
Microcontrollers. Rows go to OUT; the same command skips existing rows.
"""

import json
import pathlib

import keras
import numpy as np
from absl import app, flags

from benchmarks.machine import describe
from benchmarks.narrowing import narrowed
from export.micro import Micro
from keras_sparse import models
from keras_sparse.compression import CostModel

SHAPES = flags.DEFINE_integer("shapes", 50, "how many", lower_bound=1)
OUT = flags.DEFINE_string("out", "runs/arena_prediction.jsonl", "file of the rows")

# MobileNetV1 takes the converter longest.
NETWORKS = (*("resnet_8", "ds_cnn", "autoencoder") * 3, "mobilenet_v1")


def shape(number):
    """One network with random channels, chosen by a seed."""
    name = NETWORKS[number % len(NETWORKS)]
    keras.utils.set_random_seed(number)
    model = getattr(models, name)()
    compact, groups, widths = narrowed(model, number)
    predicted = CostModel(model, groups).total("arena", widths)
    measured = Micro().costs(compact)["arena"]
    row = {"number": number, "network": name, "widths": widths.tolist()}
    row |= {"arena": measured, "predicted": predicted, "error": predicted / measured - 1}
    return row


def main(_):
    print(describe())
    path = pathlib.Path(OUT.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    rows = {row["number"]: row for row in map(json.loads, lines)}
    for number in range(SHAPES.value):
        if number not in rows:
            rows[number] = shape(number)
            with open(path, "a") as file:
                file.write(json.dumps(rows[number]) + "\n")
            print(json.dumps(rows[number]), flush=True)
    errors = np.abs([row["error"] for row in rows.values()])
    print(f"mean error {errors.mean():.2%}, largest {errors.max():.2%}")


if __name__ == "__main__":
    app.run(main)
