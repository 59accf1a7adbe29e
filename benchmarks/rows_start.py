"""Does every row of the tables start? The loss of the first and of the last steps, as a table.

    python -m benchmarks.rows_start --data_dir=FOLDER --rows=wrn-28-2 --batch_size=16

trains each row of the tables in apps/tables whose name, TABLE/ROW, matches the regular expression
for 5 epochs of 40 steps. Batches are smaller; all other settings are unchanged, including rates and
the steps between two mask updates. It prints the mean loss of the first and of the last epoch. Rows
appear when they are done. XLA is off under TensorFlow, which trains convolutions on a CPU faster
without it. FOLDER holds mnist.npz, cifar10.npz and cifar100.npz; rows on ImageNet train on noise of
its size in two classes.
"""

import contextlib
import io
import pathlib
import re
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

from apps import program, tables
from apps.training import loop, run, tasks
from benchmarks.machine import describe

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist.npz and cifar10.npz.")
ROWS = flags.DEFINE_string("rows", "", "Regular expression for TABLE/ROW.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images a step.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 40, "Steps of each of the 5 epochs.", lower_bound=1)

_IMAGENET = 1_281_167  # training images


def chosen():
    """`(name, TrainConfig)` of the rows that `--rows` finds, with `--data_dir`."""
    for table in tables.NAMES:
        loaded = tables.load(table)
        for row in loaded.rows:
            name = f"{table}/{row.key}"
            if row.is_training and re.search(ROWS.value, name):
                yield name, loaded.config(row).replace(data_dir=DATA_DIR.value)


def history(config, out):
    """Train a row for a few steps; returns the history."""
    imagenet = config.data.dataset == "imagenet"
    if imagenet:
        config = config.replace(data_dir=made_images(pathlib.Path(out, "noise")))
    changes = {"update_every": _steps_between(config)}
    if getattr(config.optimizer, "fine_tuning_epochs", 0):
        changes["fine_tuning_epochs"] = 1.0
    if keras.backend.backend() == "tensorflow":
        changes["jit_compile"] = "false"
    if not imagenet:
        changes["train_images"] = STEPS.value * BATCH_SIZE.value
        # Some rows hold out thousands of images; their validation would take longer than the
        # training.
        changes["held_out"] = 0.0
    config = config.replace(
        out=str(out),
        resume=False,
        export=False,
        epochs=5,
        batch_size=BATCH_SIZE.value,
        test_images=64,
        steps_per_execution=1,
        **changes,
    )
    return run.prepare(config).loop.fit(verbose=0)


def made_images(folder):
    """Make a folder like ImageNet's with images of noise; returns its path."""
    rng = np.random.default_rng(0)
    counts = {"train": STEPS.value * BATCH_SIZE.value // 2, "val": 2}
    for part, count in counts.items():
        for label in ("n0", "n1"):
            place = folder / part / label
            place.mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 256, (256, 256, 3)).astype("uint8")
                keras.utils.save_img(place / f"{i}.jpeg", image, scale=False)
    return str(folder)


def _steps_between(config):
    """Steps between two mask updates of the whole training, whose epochs are longer, or None."""
    if not hasattr(config.optimizer, "mask_steps"):
        return None
    if config.data.dataset == "imagenet":  # whose images are not here
        settings = config.training
        steps = _IMAGENET // settings.batch_size
        whole = loop.Run(settings.seed, settings.epochs, steps, settings.steps_per_execution)
    else:
        whole = loop.run_of(config.training, tasks.load(config.data))
    every = config.optimizer.mask_steps(whole)
    return whole.steps_per_epoch if every == "epoch" else every


def main(_):
    print(describe())
    print(f"batch {BATCH_SIZE.value}, 5 epochs of {STEPS.value} steps\n")
    print("| row | loss, first epoch | last epoch | sparsity | s |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for name, config in chosen():
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as out:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    logs = history(config, out)
            except (ValueError, program.UsageError) as error:
                print(f"| {name} | {error} | | | |", flush=True)
                continue
        (first, last), sparsity = (logs["loss"][i] for i in (0, -1)), logs["sparsity"][-1]
        seconds = time.monotonic() - start
        print(f"| {name} | {first:.3f} | {last:.3f} | {sparsity:.3f} | {seconds:.0f} |", flush=True)
        keras.utils.clear_session()


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
