"""Does every recipe of apps/recipes start? The loss of the first and of the last steps, as a table.

    python -m benchmarks.recipes_start --data_dir=FOLDER --recipes=wrn_28_2 --batch_size=16

trains each recipe whose name holds the regular expression for 5 epochs of 40 steps, with smaller
batches and all other settings as they are, its rates and the steps between two mask updates
included, and prints the mean loss of the first and of the last epoch. Rows appear as they are done.
Under TensorFlow XLA is off: it trains convolutions on a CPU faster without it. FOLDER holds
mnist.npz and cifar10.npz.
"""

import contextlib
import csv
import io
import pathlib
import re
import tempfile
import time

import keras
from absl import app, flags

from apps import program, train
from apps.training import tasks
from apps.training.flags import define
from apps.training.optimizers import mask_steps
from benchmarks.machine import describe

DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder with mnist.npz and cifar10.npz.")
RECIPES = flags.DEFINE_string("recipes", "", "Regular expression for the names.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Images a step.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 40, "Steps of each of the 5 epochs.", lower_bound=1)

FOLDER = pathlib.Path(__file__).parent.parent / "apps" / "recipes"


def parse(*arguments):
    values = flags.FlagValues()
    define(flags, values)
    values(["train", *arguments])
    return values


def history(path, out):
    """Train a recipe shortly; returns the rows of its history."""
    whole = [f"--flagfile={path}", f"--data_dir={DATA_DIR.value}"]
    recipe = parse(*whole)
    arguments = [*whole, f"--out={out}", "--epochs=5", "--test_images=64"]
    arguments.append(f"--batch_size={BATCH_SIZE.value}")
    arguments += [f"--train_images={STEPS.value * BATCH_SIZE.value}", "--noexport"]
    # Some hold out thousands of images, whose validation takes longer than the training.
    arguments.append("--held_out=0")
    if keras.backend.backend() == "tensorflow":
        arguments.append("--jit_compile=false")
    if recipe.retrain_epochs is not None:
        arguments.append("--retrain_epochs=1")
    if mask_steps(recipe) == "epoch":
        # Not that of the short run, whose epochs are shorter.
        arguments.append(f"--update_every={tasks.load(recipe).steps_per_epoch(recipe)}")
    values = parse(*arguments)
    with contextlib.redirect_stdout(io.StringIO()):
        train.main(values)
    with open(pathlib.Path(out, "history.csv"), encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main(_):
    print(describe())
    print(f"batch {BATCH_SIZE.value}, 5 epochs of {STEPS.value} steps\n")
    print("| recipe | loss, first epoch | last epoch | sparsity | s |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for path in sorted(FOLDER.glob("*.flags")):
        if not re.search(RECIPES.value, path.stem):
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as out:
            try:
                rows = history(path, out)
            except program.UsageError as error:
                print(f"| {path.stem} | {error} | | | |", flush=True)
                continue
        first, last = (float(rows[i]["loss"]) for i in (0, -1))
        seconds, sparsity = time.monotonic() - start, float(rows[-1]["sparsity"])
        print(
            f"| {path.stem} | {first:.3f} | {last:.3f} | {sparsity:.3f} | {seconds:.0f} |",
            flush=True,
        )
        keras.utils.clear_session()


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
