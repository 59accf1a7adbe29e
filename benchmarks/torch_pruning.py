"""Compares Torch-Pruning with `keras_sparse.compress`: same network, data, budgets, recovery.

    pip install torch torch-pruning
    python -m benchmarks.torch_pruning --model=WIDE.keras --data_dir=FOLDER --out=FOLDER

WIDE.keras is a trained ResNet-8 of width 2, such as `apps.reproduce --table=compression` leaves.
Both tools cut it to half of its multiply-accumulates and to half of its measured latency as a
float32 TFLite file. `compress` does so by its default importance and by `GroupNorm`. Torch-Pruning
cuts the same network in PyTorch, by its group Taylor and its group norm importance, globally, with
the classifier left out, and with widths of any number or of multiples of 16. It takes a share of
the channels instead of a budget, so the smallest share that meets the limit is used. Weights are
copied to PyTorch and back; the logits of both are compared each time.

Each stage skips the rows that it has done:

- cut: FOLDER/NAME.keras, with its own statistics of batch normalisation, and its accuracy on the
  last tenth of the training images, which neither tool sees while it chooses.
- time: all cut networks as TFLite files, float32 and int8, timed alternately on one thread.
- train: every network by the recovery of `keras_sparse.compress`, on all training images; the
  accuracy on the test images after the last epoch, as a float32 network and as an int8 file. With
  `--train_images=45000` the last tenth is not trained on, and the accuracy on it is measured too.

What is measured is appended to FOLDER/rows.jsonl. Needs PyTorch for the stage cut alone.
"""

import itertools
import json
import pathlib
import re
import time

import keras
from absl import app, flags

import keras_sparse
from apps.tables.compression import measured
from benchmarks.machine import describe
from export import LatencyTable
from export.latency.layers import reference_file, tflite_bytes
from export.latency.timing import HostTimer
from export.run_folder import versions
from keras_sparse import data, surgery
from keras_sparse.compression import GroupNorm, Taylor
from keras_sparse.compression.recovery import compile_like
from keras_sparse.compression.trial import recalibrate

STAGES = ("cut", "time", "train")
MODEL = flags.DEFINE_string("model", None, "the trained ResNet-8 of width 2, a .keras file")
DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with cifar10.npz")
OUT = flags.DEFINE_string("out", "runs/torch_pruning", "folder of the results")
DO = flags.DEFINE_multi_enum("stages", STAGES, STAGES, "which to run; all by default")
ROWS = flags.DEFINE_string("rows", "", "only rows whose name holds this regular expression")
EPOCHS = flags.DEFINE_integer("epochs", 12, "of each recovery", lower_bound=1)
IMAGES = flags.DEFINE_integer("train_images", None, "the first ones only; all by default")
SEED = flags.DEFINE_integer("seed", 0, "of the order of the images", lower_bound=0)

SHARE, HELD_OUT = 0.5, 0.1
BATCH_SIZE, GRADIENT_BATCHES = 128, 20
# A prediction from single layers is wrong by at most this factor; networks that may fit are timed.
PREDICTED = 1.06
COMPARED, MOST_DIFFERENCE = 256, 1e-4
# Name to (cost, importance, `round_to` of Torch-Pruning), the main ones first. An importance that
# is an object is of `compress`.
NETWORKS = {
    "ours-macs": ("macs", Taylor(), None),
    "ours-norm-macs": ("macs", GroupNorm(), None),
    "taylor-macs": ("macs", "taylor", None),
    "ours-latency": ("latency", Taylor(), None),
    "ours-norm-latency": ("latency", GroupNorm(), None),
    "taylor-16-latency": ("latency", "taylor", 16),
    "norm-macs": ("macs", "norm", None),
    "taylor-latency": ("latency", "taylor", None),
    "norm-16-latency": ("latency", "norm", 16),
    "taylor-16-macs": ("macs", "taylor", 16),
    "norm-latency": ("latency", "norm", None),
    "norm-16-macs": ("macs", "norm", 16),
}


class Run:
    """The common parts of the stages: the model, the data and the folder."""

    def __init__(self):
        self.out = pathlib.Path(OUT.value)
        self.out.mkdir(parents=True, exist_ok=True)
        self.wide = keras.models.load_model(MODEL.value)
        self.task = data.load("cifar10", data_dir=DATA_DIR.value)
        self.names = [name for name in NETWORKS if re.search(ROWS.value, name)]

    def batches(self, held_out=False):
        """Training images, augmented as in the base training."""
        task = self.task.held_out(HELD_OUT) if held_out else self.task
        x, y = (array[: IMAGES.value] for array in (task.x_train, task.y_train))
        return data.Batches(x, y, BATCH_SIZE, seed=SEED.value, augment=data.crop_and_flip)

    def held_out_accuracy(self, model):
        """Accuracy on the training images that no tool used to choose channels."""
        task = self.task.held_out(HELD_OUT)
        model.compile(loss=self.wide.loss, metrics=["accuracy"])
        return model.evaluate(task.x_test, task.y_test, 500, verbose=0)[1]

    def path(self, name):
        return self.out / f"{name}.keras"

    def table(self):
        """Measured latencies, kept in the folder, so that all rows have the same limit."""
        return LatencyTable.measure(self.wide, path=self.out / "latency.json")

    def rows(self):
        """`{(name, stage): row}`."""
        path = self.out / "rows.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return {(row["name"], row["stage"]): row for row in map(json.loads, lines)}

    def add(self, name, stage, **figures):
        """Append a row, and print it."""
        row = {
            **{"name": name, "stage": stage, **figures, "machine": describe()},
            "versions": versions("keras", "ai-edge-litert", "torch", "torch-pruning"),
        }
        with open(self.out / "rows.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps({"name": name, "stage": stage, **figures}), flush=True)

    def missing(self, stage):
        """Names without a row of this stage."""
        known = self.rows()
        return [name for name in self.names if (name, stage) not in known]


def cut(run):
    """Make every missing network, and measure its accuracy before any training."""
    if ("wide", "cut") not in run.rows():
        wide = keras.models.load_model(MODEL.value)
        run.add("wide", "cut", accuracy_cut=run.held_out_accuracy(wide), **counts(wide))
    names = run.missing("cut")
    needed = any(isinstance(NETWORKS[name][1], str) for name in names)
    theirs = TorchPruning(run) if needed else None
    for name in names:
        cost, importance, round_to = NETWORKS[name]
        keras.utils.set_random_seed(SEED.value)
        if not isinstance(importance, str):
            model, figures = ours(run, cost, importance), {}
        else:
            model, figures = theirs.cut(cost, importance, round_to)
            compile_like(model, run.wide, "sgd")
            recalibrate(model, run.batches(held_out=True), BATCH_SIZE)
        figures |= {"accuracy_cut": run.held_out_accuracy(model), **counts(model)}
        model.save(run.path(name))
        run.add(name, "cut", **figures)


def counts(model):
    """Size of a model, and widths of its convolutions."""
    return {
        "macs": surgery.count_macs(model).total,
        "parameters": model.count_params(),
        "widths": {
            layer.name: layer.filters
            for layer in model.layers
            if isinstance(layer, keras.layers.Conv2D)
        },
    }


def ours(run, cost, importance):
    """The network that `keras_sparse.compress` chooses, not trained."""
    limit, latency = {"macs": SHARE}, None
    if cost == "latency":
        table = run.table()
        limit = {"latency": f"{1e3 * SHARE * table.total()} ms"}
        latency = {"latency": table}
    result = keras_sparse.compress(
        run.wide,
        run.batches(held_out=True),
        target=limit,
        importance=importance,
        latency=latency,
        epochs=0,
        batch_size=BATCH_SIZE,
    )
    print(result.plan, flush=True)
    return result.model


class TorchPruning:
    """The network in PyTorch, with the gradients of as many batches as ours."""

    def __init__(self, run):
        from benchmarks import torch_resnet_8  # only this stage needs PyTorch

        self.torch = torch_resnet_8
        self.run = run
        self.images = run.task.x_train[:COMPARED]
        self.network = torch_resnet_8.ResNet8(run.wide)
        self.check(self.network, run.wide)
        batches = itertools.islice(run.batches(held_out=True), GRADIENT_BATCHES)
        self.gradients = torch_resnet_8.gradients(self.network, batches)

    def check(self, network, model):
        """The largest difference of the logits; raises if the networks are not the same."""
        difference = self.torch.largest_difference(network, model, self.images)
        if difference > MOST_DIFFERENCE:
            raise RuntimeError(f"The logits of Keras and PyTorch differ by {difference}.")
        return difference

    def cut(self, cost, importance, round_to):
        """The least cut network within the limit, in Keras, and its figures."""
        fits = self.fits_macs() if cost == "macs" else self.fits_latency()
        total, tried = self.torch.channels(self.network), set()
        for removed in range(1, total):
            network = self.torch.pruned(self.network, self.gradients, importance, removed, round_to)
            shape = tuple(network.shapes().items())
            if shape not in tried and fits(network):
                model = self.torch.to_keras(network, self.run.wide)
                difference = self.check(network, model)
                return model, {"pruning_ratio": removed / total, "largest_difference": difference}
            tried.add(shape)
        raise RuntimeError("No network of Torch-Pruning is within the limit.")

    def fits_macs(self):
        """A function that tells whether a network is within the limit."""
        full = surgery.count_macs(self.run.wide)
        pixels = {
            name: full.layers[name] / size for name, size in self.network.kernel_sizes().items()
        }

        def fits(network):
            sizes = network.kernel_sizes()
            return sum(pixels[n] * size for n, size in sizes.items()) <= SHARE * full.total

        return fits

    def fits_latency(self):
        """A function that tells whether a network is within the limit of the latency."""
        table = self.run.table()
        limit = SHARE * table.total()

        def fits(network):
            predicted = sum(
                table.seconds(name, *widths) for name, widths in network.shapes().items()
            )
            if predicted > PREDICTED * limit:
                return False
            model = self.torch.to_keras(network, self.run.wide)
            whole, own = table.models_seconds([self.run.wide, model])
            return own <= SHARE * whole

        return fits


def times(run):
    """Fastest inference of the wide network and all cut networks, timed alternately."""
    models = {"wide": run.wide}
    models |= {n: keras.models.load_model(run.path(n)) for n in run.names if run.path(n).exists()}
    figures = {name: {} for name in models}
    for key, quantize in (("latency_ms", None), ("latency_int8_ms", "int8")):
        files = [tflite_bytes(model, quantize) for model in models.values()]
        seconds = HostTimer(reference_file(quantize))(files)
        for name, value in zip(models, seconds, strict=True):
            figures[name][key] = 1e3 * value
    for name in models:
        run.add(name, "time", **figures[name])


def train(run):
    """Recover every network that is not recovered yet."""
    if ("wide", "train") not in run.rows():
        wide = keras.models.load_model(MODEL.value)
        run.add("wide", "train", **trained(run, "wide", wide))
    for name in run.missing("train"):
        keras.utils.set_random_seed(SEED.value)
        model = keras.models.load_model(run.path(name), compile=False)
        optimizer = type(run.wide.optimizer).from_config(run.wide.optimizer.get_config())
        compile_like(model, run.wide, optimizer)
        start = time.time()
        result = keras_sparse.compress(
            model,
            run.batches(),
            # Nothing is removed: only the recovery runs.
            target={"macs": 1.0},
            importance=keras_sparse.compression.Random(),
            allocation="uniform",
            epochs=EPOCHS.value,
            batch_size=BATCH_SIZE,
            folder=run.out / f"{name}-recovery",
            verbose=2,
        )
        seconds = time.time() - start
        run.add(name, "train", seconds=seconds, **trained(run, name, result.model))


def trained(run, name, model):
    """Accuracies and sizes; the model and its files are kept."""
    folder = run.out / f"{name}-trained"
    folder.mkdir(exist_ok=True)
    settings = {"epochs": EPOCHS.value, "train_images": len(run.task.x_train[: IMAGES.value])}
    figures = measured(model, run.task, folder)
    return {**settings, **figures, "accuracy_held_out": run.held_out_accuracy(model)}


def show(run):
    """Print all results as Markdown."""
    rows = run.rows()
    columns = {
        "MACs, M": ("cut", "macs", lambda v: f"{v / 1e6:.2f}"),
        "parameters": ("cut", "parameters", "{:,}".format),
        "latency, us": ("time", "latency_ms", lambda v: f"{1e3 * v:.1f}"),
        "int8: latency, us": ("time", "latency_int8_ms", lambda v: f"{1e3 * v:.1f}"),
        "held out, after the cut, %": ("cut", "accuracy_cut", lambda v: f"{100 * v:.2f}"),
        "held out, recovered, %": ("train", "accuracy_held_out", lambda v: f"{100 * v:.2f}"),
        "test, recovered, %": ("train", "accuracy", "{:.2f}".format),
        "int8: test, %": ("train", "accuracy_int8", "{:.2f}".format),
        "widths": ("cut", "widths", lambda v: " ".join(map(str, v.values()))),
    }
    print(f"\n| network | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name in ("wide", *NETWORKS):
        cells = [
            text(rows[name, stage][key]) if (name, stage) in rows else ""
            for stage, key, text in columns.values()
        ]
        if any(cells):
            print(f"| {name} | {' | '.join(cells)} |")


def main(_):
    print(describe())
    run = Run()
    for stage, function in zip(STAGES, (cut, times, train), strict=True):
        if stage in DO.value:
            function(run)
    show(run)


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "data_dir"])
    app.run(main)
