"""The four networks of MLPerf Tiny under LiteRT for Microcontrollers, whole and cut.

    python -m benchmarks.micro_networks --resnet_8=FILE.keras --data_dir=FOLDER

Each is converted to float32 and to int8, as it is and cut to half of its arena by
`keras_sparse.plan`, not trained again. Weights are random but for ResNet-8's, which are those of
the file, with test images of CIFAR-10 as samples. Rows go to OUT; the same command skips those that
are there. `--plot` draws the memory over the layers of ResNet-8.
"""

import json
import pathlib

import keras
from absl import app, flags

from benchmarks.machine import describe
from export.latency.layers import tflite_bytes
from export.micro import measure
from keras_sparse import data, models
from keras_sparse.compression import GroupNorm
from keras_sparse.compression.planning import plan

RESNET = flags.DEFINE_string("resnet_8", None, "a trained ResNet-8")
DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with cifar10.npz")
OUT = flags.DEFINE_string("out", "runs/micro_networks", "folder of rows.jsonl and the files")
PLOT = flags.DEFINE_string("plot", None, "picture of ResNet-8 before and after")

NETWORKS = ("resnet_8", "ds_cnn", "autoencoder", "mobilenet_v1")
SHARE, SAMPLES = 0.5, 50


def network(name):
    keras.utils.set_random_seed(0)
    if name == "resnet_8" and RESNET.value:
        return keras.models.load_model(RESNET.value, compile=False)
    return getattr(models, name)()


def samples(name):
    if name != "resnet_8" or not DATA_DIR.value:
        return None
    return data.load("cifar10", data_dir=DATA_DIR.value).x_test[:SAMPLES]


def cut(model):
    return plan(model, target={"arena": SHARE}, importance=GroupNorm()).apply(model)[0]


def row(name, state, kind, path):
    model = network(name)
    path.write_bytes(tflite_bytes(model if state == "dense" else cut(model), kind))
    [file] = measure([path], samples=samples(name)).files
    found = file.to_dict()
    found["peak"] = found["peak"]["layer"]
    found["agreement"].pop("layers")
    found.pop("memory")
    return {"network": name, "state": state, "kind": kind or "float32", **found}


def main(_):
    print(describe())
    out = pathlib.Path(OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    rows = out / "rows.jsonl"
    lines = rows.read_text().splitlines() if rows.exists() else []
    known = {tuple(r[k] for k in ("network", "state", "kind")): r for r in map(json.loads, lines)}
    for name in NETWORKS:
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
