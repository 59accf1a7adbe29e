"""Results of every method with its defaults, on the digits and on MNIST, before and after.

    OMP_NUM_THREADS=1 python benchmarks/defaults.py --data_dir=FOLDER --results=FILE

trains small networks with each optimizer, `before` with its earlier defaults and `after` with its
current ones. It prints accuracy on the test images and sparsity of the prunable weights as
Markdown. Each training is a line of FILE. Trainings in the file are not repeated, so a run that was
stopped continues. `--tasks`, `--methods`, `--versions` and `--seeds` choose trainings.

These figures were not used to choose defaults; held-out training images were.
"""

import dataclasses
import itertools
import json
import pathlib
import statistics
from collections.abc import Callable

import keras
import tensorflow as tf
from absl import app, flags
from keras import layers

import keras_sparse
from keras_sparse import data, models, sparsity
from keras_sparse.optimizers.masked import MaskedOptimizer

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist.npz.")
RESULTS = flags.DEFINE_string("results", "defaults.jsonl", "File of what was measured.")
TASK_NAMES = flags.DEFINE_list("tasks", None, "Tables; all of them by default.")
METHOD_NAMES = flags.DEFINE_list("methods", None, "Rows; all of them by default.")
VERSIONS = flags.DEFINE_list("versions", ["before", "after"], "Columns.")
SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings that a mean is of, where a table has more.")


class UnscaledDeepR(keras_sparse.DeepR):
    """The earlier DeepR, without scaling of the initial weights."""

    _first_weights = MaskedOptimizer._first_weights


METHODS = {
    "Adam": {"after": keras.optimizers.Adam},
    "RDA": {"after": keras_sparse.RDA},
    "GRDA": {"before": lambda: keras_sparse.GRDA(0.1, c=5e-3), "after": keras_sparse.GRDA},
    "ProxSGD": {
        "before": lambda: keras_sparse.ProxSGD(None, l1=1e-4),
        "after": keras_sparse.ProxSGD,
    },
    "StaticSparse": {
        "before": lambda: keras_sparse.StaticSparse(0.1),
        "after": keras_sparse.StaticSparse,
    },
    "SparseMomentum": {
        "before": lambda: keras_sparse.SparseMomentum(0.1, prune_rate=0.5),
        "after": keras_sparse.SparseMomentum,
    },
    "RigL": {"before": lambda: keras_sparse.RigL(0.1, prune_rate=0.3), "after": keras_sparse.RigL},
    "SET": {"before": lambda: keras_sparse.SET(0.1, prune_rate=0.3), "after": keras_sparse.SET},
    "DSR": {"before": lambda: keras_sparse.DSR(0.1, prune_rate=0.1), "after": keras_sparse.DSR},
    "SNIP": {"before": lambda: keras_sparse.SNIP(0.1), "after": keras_sparse.SNIP},
    "DeepR": {"before": lambda: UnscaledDeepR(0.05), "after": keras_sparse.DeepR},
    "MagnitudePruning": {
        "before": lambda: keras_sparse.MagnitudePruning(0.01, sparsity=0.9, update_every=100),
        "after": keras_sparse.MagnitudePruning,
    },
}


@dataclasses.dataclass(frozen=True)
class Task:
    """A network and how long it is trained, with batches of 32.

    Attributes:
        dataset: "digits" or "mnist".
        build: makes the network.
        epochs: int.
        seeds: int, number of trainings for the mean.
        images: None, or the number of training images, from the first.
    """

    dataset: str
    build: Callable
    epochs: int
    seeds: int
    images: int | None = None


def digits_network(batch_norm):
    """Two convolutions and two dense layers for 8x8 images."""
    network = [keras.Input((8, 8, 1))]
    for layer, last in (
        (layers.Conv2D(16, 3, padding="same", use_bias=not batch_norm), layers.MaxPooling2D()),
        (layers.Conv2D(32, 3, padding="same", use_bias=not batch_norm), layers.MaxPooling2D()),
        (layers.Dense(64, use_bias=not batch_norm), layers.Dense(10)),
    ):
        if isinstance(layer, layers.Dense):
            network.append(layers.Flatten())
        # Small data sets have few steps per epoch; averages with the default of 0.99 would lag
        # behind.
        norm = [layers.BatchNormalization(momentum=0.9)] if batch_norm else []
        network += [layer, *norm, layers.ReLU(), last]
    return keras.Sequential(network)


def plain():
    return digits_network(False)


def normalised():
    return digits_network(True)


def small_lenet():
    return models.lenet_5(width=0.5)


TASKS = {
    "digits short": Task("digits", plain, 12, 3),
    "digits bn short": Task("digits", normalised, 12, 3),
    "mnist short": Task("mnist", small_lenet, 2, 1, 6000),
    "digits long": Task("digits", plain, 60, 3),
    "digits bn long": Task("digits", normalised, 60, 3),
    "mnist long": Task("mnist", small_lenet, 6, 1, 6000),
}

for name, known in (
    ("tasks", TASKS),
    ("methods", METHODS),
    ("versions", ("before", "after")),
):
    flags.register_validator(
        name,
        lambda values, known=known: set(values or []) <= set(known),
        message=f"must be some of: {', '.join(known)}",
    )


def train(task, make, seed):
    """Accuracy on the test images, and sparsity, of one training."""
    keras.utils.set_random_seed(seed)
    dataset = data.load(task.dataset, DATA_DIR.value if task.dataset == "mnist" else None)
    model = task.build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # TensorFlow trains convolutions on a CPU faster without XLA.
    model.compile(make(), loss, metrics=["accuracy"], jit_compile=False, steps_per_execution=4)
    images, labels = dataset.x_train[: task.images], dataset.y_train[: task.images]
    model.fit(images, labels, batch_size=32, epochs=task.epochs, verbose=0)
    _, accuracy = model.evaluate(dataset.x_test, dataset.y_test, batch_size=500, verbose=0)
    return accuracy, sparsity(model)


def measure(path):
    """Run the trainings that are missing in the file; return all results by training."""
    found = {}
    if path.exists():
        lines = map(json.loads, path.read_text().splitlines())
        found = {tuple(key): figures for key, figures in lines}
    wanted = itertools.product(
        TASK_NAMES.value or TASKS,
        range(SEEDS.value),
        METHOD_NAMES.value or METHODS,
        VERSIONS.value,
    )
    for task, seed, method, version in wanted:
        key = (task, method, version, seed)
        if key in found or seed >= TASKS[task].seeds or version not in METHODS[method]:
            continue
        found[key] = train(TASKS[task], METHODS[method][version], seed)
        with path.open("a") as file:
            print(json.dumps([key, found[key]]), file=file)
    return found


def cell(found, *key):
    """Mean accuracy and sparsity of a column, and the number of trainings."""
    figures = [figures for (*found_key, _), figures in found.items() if tuple(found_key) == key]
    if not figures:
        return ""
    accuracy, zeros = map(statistics.mean, zip(*figures, strict=True))
    return f"{accuracy:.3f} ({zeros:.2f}) ×{len(figures)}"


def main(_):
    """Measure, and print the tables."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    found = measure(pathlib.Path(RESULTS.value))
    names = [task for task in TASKS if any(key[0] == task for key in found)]
    columns = list(itertools.product(names, VERSIONS.value))
    print("| method |", " | ".join(f"{task}: {version}" for task, version in columns), "|")
    print("| --- |", " | ".join("---:" for _ in columns), "|")
    for method in METHODS:
        cells = [cell(found, task, method, version) for task, version in columns]
        print(f"| {method} |", " | ".join(cells), "|")


if __name__ == "__main__":
    app.run(main)
