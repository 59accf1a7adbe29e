"""ResNet-8 of MLPerf Tiny compressed to arenas of a microcontroller, on CIFAR-10.

    python -m benchmarks.arena_budgets --data_dir=FOLDER --train_images=10000 --epochs=6,3

The network is trained, cut to each arena by `keras_sparse.compress`, and trained again. LiteRT for
Microcontrollers measures the arena in int8. For comparison, the widest uniformly narrow ResNet-8
that fits is trained from scratch for as many epochs as both trainings together. Accuracies are for
all test images, after the last epoch; with --held_out, for that share of the training images.

Rows are appended to OUT/rows.jsonl. The same command skips existing rows, and continues an
interrupted recovery.
"""

import json
import pathlib
import time

import keras
from absl import app, flags
from keras.optimizers.schedules import CosineDecay

import keras_sparse
from benchmarks.machine import describe
from keras_sparse import data, models, surgery
from keras_sparse.compression import CostModel
from keras_sparse.compression.planning import removable_groups

DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with cifar10.npz")
IMAGES = flags.DEFINE_integer("train_images", None, "the first ones only; all by default")
EPOCHS = flags.DEFINE_list("epochs", ["6", "3"], "of the training and of the recovery")
ARENAS = flags.DEFINE_list("arenas", ["24", "32", "40"], "in kB")
KINDS = flags.DEFINE_list("kinds", ["compressed", "narrow"], "which networks to train")
HELD_OUT = flags.DEFINE_float("held_out", None, "share of training images to choose settings on")
SEED = flags.DEFINE_integer("seed", 0, "of weights and of the order of images", lower_bound=0)
OUT = flags.DEFINE_string("out", "runs/arena_budgets", "folder of models and rows.jsonl")

BATCH_SIZE = 64
RATE = 0.1
# A weight decay of 5e-4 in the gradient; Keras' L2(c) adds 2cw.
L2 = 2.5e-4
SIXTEENTH = 1 / 16
NEAR = 1.05


def batches(task):
    x, y = (array[: IMAGES.value] for array in (task.x_train, task.y_train))
    return data.Batches(x, y, BATCH_SIZE, SEED.value, data.crop_and_flip)


def network(task, width):
    regularizer = keras.regularizers.L2(L2)
    shape, classes = task.input_shape, task.classes
    return models.resnet_8(shape, classes, width=width, kernel_regularizer=regularizer)


def trained(task, width, epochs):
    """A network of this width from scratch; the rate falls to 0 along a cosine."""
    keras.utils.set_random_seed(SEED.value)
    images = batches(task)
    steps = len(images)
    model = network(task, width)
    rate = CosineDecay(RATE, epochs * steps)
    model.compile(
        keras.optimizers.SGD(rate, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(images, steps_per_epoch=steps, epochs=epochs, shuffle=False, verbose=2)
    return model


def given(task):
    """The network that is compressed."""
    path = pathlib.Path(OUT.value) / f"given-seed{SEED.value}.keras"
    if not path.exists():
        trained(task, 1.0, int(EPOCHS.value[0])).save(path)
    return keras.models.load_model(path)


def widest(task, arena):
    """The widest uniform network in steps of a channel of the first layer that fits."""
    from export.micro import Micro

    widths = [i * SIXTEENTH for i in range(16, 0, -1)]
    # A conversion takes seconds, so only widths with a near prediction are measured.
    near = (w for w in widths if _predicted(network(task, w)) <= NEAR * arena)
    return next(w for w in near if Micro().costs(network(task, w))["arena"] <= arena)


def _predicted(model):
    costs = CostModel(model, removable_groups(model))
    return costs.total("arena", costs.full())


def accuracy(model, task):
    """In percent, of all test images."""
    return 100 * model.evaluate(task.x_test, task.y_test, 500, verbose=0)[1]


def compressed(task, arena, known):
    """The network cut and trained again; its accuracy and that of the given network."""
    from export.micro import Micro

    model = given(task)
    result = keras_sparse.compress(
        model,
        batches(task),
        target={"arena": arena},
        epochs=int(EPOCHS.value[1]),
        batch_size=BATCH_SIZE,
        micro=Micro(),
        folder=pathlib.Path(OUT.value) / f"{arena}-seed{SEED.value}",
        verbose=2,
    )
    plan = result.plan
    print(result, plan, sep="\n", flush=True)
    return result.model, {
        **{"given": accuracy(model, task), "accuracy": accuracy(result.model, task)},
        **{"predicted": plan.costs["arena"][1], "measured": result.costs["arena"][2]},
        "widths": dict(
            zip([group.name for group in plan.groups], plan.widths.tolist(), strict=True)
        ),
    }


def narrow(task, arena, known):
    """The widest narrow network, from scratch, and its accuracy."""
    widths = [row["width"] for key, row in known.items() if key[:2] == (arena, "narrow")]
    width = widths[0] if widths else widest(task, arena)
    model = trained(task, width, sum(map(int, EPOCHS.value)))
    return model, {"accuracy": accuracy(model, task), "width": width}


def row(kind, task, arena, known):
    """Compute a row, and keep the model."""
    start = time.time()
    model, figures = {"compressed": compressed, "narrow": narrow}[kind](task, arena, known)
    model.save(pathlib.Path(OUT.value) / f"{kind}-{arena}-seed{SEED.value}.keras")
    return {
        **{"arena": arena, "row": kind, "seed": SEED.value, "epochs": EPOCHS.value},
        "train_images": IMAGES.value,
        **figures,
        **{"macs": surgery.count_macs(model).total, "parameters": model.count_params()},
        **{"seconds": time.time() - start, "machine": describe()},
    }


def main(_):
    print(describe())
    task = data.load("cifar10", data_dir=DATA_DIR.value)
    if HELD_OUT.value:
        task = task.held_out(HELD_OUT.value)
    path = pathlib.Path(OUT.value) / "rows.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.read_text().splitlines() if path.exists() else []
    known = {(row["arena"], row["row"], row["seed"]): row for row in map(json.loads, lines)}
    for kind in KINDS.value:
        for arena in (1000 * int(text) for text in ARENAS.value):
            key = arena, kind, SEED.value
            if key not in known:
                known[key] = row(kind, task, arena, known)
                with open(path, "a") as file:
                    file.write(json.dumps(known[key]) + "\n")
            print(json.dumps(known[key]), flush=True)


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
