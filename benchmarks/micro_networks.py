"""The four networks of MLPerf Tiny under LiteRT for Microcontrollers, whole and cut.

    python -m benchmarks.micro_networks --resnet_8=FILE.keras --resnet_8_cut=FILE.keras \\
        --data_dir=FOLDER

Each is converted to float32 and to int8, whole and cut. ResNet-8 is trained, and cut by
`benchmarks.arena_budgets`; images of CIFAR-10 give its ranges and its accuracy. The others have
random weights and random samples. `keras_sparse.plan` cuts them to half of their arena (the
autoencoder to three quarters), and they are not trained again. Rows go to OUT; the same command
skips existing rows. `--plot` draws the memory over the layers of ResNet-8.
"""

import json
import math
import pathlib

import keras
from absl import app, flags

from benchmarks.machine import describe
from export import convert
from export.latency.layers import tflite_bytes
from export.micro import measure
from export.verify import Tolerance
from keras_sparse import data, models
from keras_sparse.compression import GroupNorm
from keras_sparse.compression.planning import plan

RESNET = flags.DEFINE_string("resnet_8", None, "a trained ResNet-8")
CUT = flags.DEFINE_string("resnet_8_cut", None, "the same, compressed and trained again")
DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with cifar10.npz, for a trained ResNet-8")
NAMES = ["resnet_8", "ds_cnn", "autoencoder", "mobilenet_v1"]
NETWORKS = flags.DEFINE_list("networks", NAMES, "which to measure")
OUT = flags.DEFINE_string("out", "runs/micro_networks", "folder of rows.jsonl and the files")
PLOT = flags.DEFINE_string("plot", None, "picture of ResNet-8 before and after")

COMPARED, CALIBRATED, TESTED = 50, 200, 2000
# Operators take most of the autoencoder's arena.
SHARES = dict.fromkeys(NAMES, 0.5) | {"autoencoder": 0.75}
# Losses by rounding are a result here, not an error.
ANY = Tolerance(error=math.inf, agreement=0.0, accuracy=1.0)


def network(name, state):
    trained = {"dense": RESNET.value, "cut": CUT.value}[state]
    if name == "resnet_8" and trained:
        return keras.models.load_model(trained, compile=False)
    keras.utils.set_random_seed(0)
    model = getattr(models, name)()
    if state == "dense":
        return model
    return plan(model, target={"arena": SHARES[name]}, importance=GroupNorm()).apply(model)[0]


def images(name):
    """CIFAR-10 for a trained network, else None."""
    trained = name == "resnet_8" and RESNET.value
    return data.load("cifar10", data_dir=DATA_DIR.value) if trained else None


def write(model, kind, task, path):
    """Write the file; its accuracy in percent, None without images."""
    if task is None:
        path.write_bytes(tflite_bytes(model, kind))
        return None
    integers = {"representative": task.x_train[:CALIBRATED], "input_output": "int8"}
    report = convert(
        model,
        path,
        quantize=kind,
        samples=task.x_test[:TESTED],
        labels=task.y_test[:TESTED],
        tolerance=ANY,
        **(integers if kind else {}),
    )
    return 100 * report.accuracy


def row(name, state, kind, path):
    task = images(name)
    accuracy = write(network(name, state), kind, task, path)
    [file] = measure([path], samples=None if task is None else task.x_test[:COMPARED]).files
    found = file.to_dict()
    found["peak"] = found["peak"]["layer"]
    found["agreement"].pop("layers")
    found.pop("memory")
    return {
        **{"network": name, "state": state, "kind": kind or "float32"},
        **{"accuracy": accuracy, **found},
    }


def main(_):
    print(describe())
    out = pathlib.Path(OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    rows = out / "rows.jsonl"
    lines = rows.read_text().splitlines() if rows.exists() else []
    known = {tuple(r[k] for k in ("network", "state", "kind")): r for r in map(json.loads, lines)}
    for name in NETWORKS.value:
        for state in ("dense", "cut"):
            for kind in ("int8", None):
                key = name, state, kind or "float32"
                if key not in known:
                    known[key] = row(name, state, kind, out / f"{'-'.join(key)}.tflite")
                    with open(rows, "a") as file:
                        file.write(json.dumps(known[key]) + "\n")
                print(json.dumps(known[key]), flush=True)
    if PLOT.value:
        files = [out / f"resnet_8-{state}-int8.tflite" for state in ("dense", "cut")]
        measure(files).plot(PLOT.value)


if __name__ == "__main__":
    app.run(main)
