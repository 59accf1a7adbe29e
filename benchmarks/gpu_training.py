"""Images a second of rows of tables for CIFAR-10 on an NVIDIA GPU, and how busy it is.

    KERAS_BACKEND=jax python -m benchmarks.gpu_training --data_dir=FOLDER --rows=wrn-28-2

Trains each row whose name, TABLE/ROW, matches the regular expression for some steps, alternately on
one repeated batch and on the row's images, shuffled and augmented. Figures are medians over the
rounds. Busy is the share of the time in which a kernel ran, from nvidia-smi. TFLOP/s counts six
operations for each multiply-accumulate of an image, two forward and four backward, and none for
masks and normalisation. The first step includes compilation. FOLDER holds cifar10.npz.
"""

import contextlib
import itertools
import shutil
import subprocess
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

from apps.training import loop, tasks
from benchmarks.machine import describe
from benchmarks.rows_start import chosen
from keras_sparse import surgery

_STEPS = flags.DEFINE_integer("timed_steps", 1000, "steps of each way in a round", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 2, "rounds", lower_bound=1)
_WAYS = ("one batch", "all images")


@contextlib.contextmanager
def busy_share():
    """A list; at the end of the block, the share of the time in which the GPU was busy is added."""
    found = []
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(["nvidia-smi", *query], stdout=log)
        try:
            yield found
        finally:
            process.terminate()
            process.wait()
        log.seek(0)
        # The driver averages over up to a second, so the first samples are older than the block.
        samples = [float(line) for line in log.read().split()][10:]
        found.append(np.mean(samples) / 100 if samples else float("nan"))


def seconds(model, batches, steps):
    start = time.perf_counter()
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    keras.ops.convert_to_numpy(model.optimizer.iterations)  # waits for the device
    return time.perf_counter() - start


def measure(config):
    """`(seconds of the first step, TFLOP of an image, {way: (images a second, busy share)})`."""
    task = tasks.load(config.data)
    model = loop.compiled(task, config)
    images = task.batches(config, first_epoch=0)
    first = next(iter(images)) if hasattr(images, "take") else images[0]
    ways = {_WAYS[0]: lambda: (first for _ in itertools.count()), _WAYS[1]: lambda: images}
    compiling = seconds(model, ways[_WAYS[0]](), 1)
    found = {name: [] for name in ways}
    for _ in range(_ROUNDS.value):
        for name, batches in ways.items():
            with busy_share() as busy:
                taken = seconds(model, batches(), _STEPS.value)
            found[name].append((config.training.batch_size * _STEPS.value / taken, busy[0]))
    operations = 6 * surgery.count_macs(model).total / 1e12
    return compiling, operations, {name: np.median(f, axis=0) for name, f in found.items()}


def main(_):
    if shutil.which("nvidia-smi") is None:
        raise app.UsageError("This needs an NVIDIA GPU: there is no nvidia-smi on the PATH.")
    print(describe())
    print(f"{_ROUNDS.value} rounds of {_STEPS.value} steps\n")
    heads = ["row", "first step, s"]
    heads += [f"{way}, {what}" for way in _WAYS for what in ("images/s", "busy")] + ["TFLOP/s"]
    print("| " + " | ".join(heads) + " |")
    print("| --- |" + " ---: |" * (len(heads) - 1), flush=True)
    for name, config in chosen():
        if config.data.dataset != "cifar10":
            continue
        compiling, operations, ways = measure(config)
        row = [name, f"{compiling:.1f}"]
        for rate, busy in ways.values():
            row += [f"{rate:,.0f}", f"{100 * busy:.0f}%"]
        row.append(f"{operations * ways[_WAYS[1]][0]:.1f}")
        print("| " + " | ".join(row) + " |", flush=True)
        keras.utils.clear_session()


if __name__ == "__main__":
    flags.mark_flag_as_required("data_dir")
    app.run(main)
