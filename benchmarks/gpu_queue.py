"""Runs measurements on a GPU, the most important first, within a given time.

    python -m benchmarks.gpu_queue --minutes=13 --data_dir=FOLDER --out=OUT

Each item is a separate program on the JAX backend. An item is skipped if it is done, or if its
expected time is not left. An interrupted training continues from its checkpoint, which stays in
OUT. At the end of the time the running item is stopped. After each item OUT/queue.json and
OUT/queue.md have the expected and the measured seconds. OUT/ITEM has the item's output and files,
without checkpoints of finished trainings and models above 16 MB. This module does not import Keras,
so that only the items use the device.

    python -m benchmarks.gpu_queue --rehearse --data_dir=FOLDER --out=OUT

runs every item for a few steps of a narrow network, also on a CPU, into OUT/rehearsal. FOLDER holds
cifar10.npz.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import app, flags

# Larger files are not kept.
LARGEST = 16 * 2**20
_STEPS_PER_EPOCH = 391  # 50,000 images in batches of 128
# Seconds that a program may take to end by itself before it is killed.
_GRACE = 10.0


@dataclasses.dataclass(frozen=True)
class Item:
    """Something to run.

    Attributes:
        name: name of its folder.
        seconds: float, its expected time; docs/laboratory.md explains the prediction.
        module: the program.
        arguments: arguments of the program.
        rehearsal: arguments that are added, or replace the same flags, in a rehearsal.
        epochs: int, for a training that continues from a checkpoint; None for other programs.
    """

    name: str
    seconds: float
    module: str
    arguments: Sequence[str]
    rehearsal: Sequence[str]
    epochs: int | None = None

    def command(self, out, data_dir, rehearse):
        """The command line, with `out` as the folder."""
        found = [sys.executable, "-m", self.module, *self.arguments]
        if self.module.startswith("apps"):
            found += [f"--data_dir={data_dir}", f"--out={out / self.name}"]
        return found + (list(self.rehearsal) if rehearse else [])

    def seconds_left(self, out):
        """Expected seconds for the rest of a stopped training."""
        history = out / self.name / "history.csv"
        if self.epochs is None or not history.exists():
            return self.seconds
        done = len(history.read_text(encoding="utf-8").splitlines()) - 1
        return self.seconds * max(0.0, 1 - done / self.epochs)


def _steps(model, rounds, steps, seconds):
    arguments = [f"--model={model}", f"--rounds={rounds}", f"--steps={steps}", "--compiles=1"]
    rehearsal = ["--rounds=1", "--steps=1", "--batch=2"]
    return Item(f"steps_{model}", seconds, "benchmarks.step_overhead", arguments, rehearsal)


def _training(row, epochs, seconds, seed=0):
    arguments = [
        f"--row={row}",
        f"--seed={seed}",
        "--mixed_precision=bfloat16",
        f"--steps_per_execution={_STEPS_PER_EPOCH}",
        "--noexport",
    ]
    rehearsal = ["--epochs=2", "--train_images=256", "--test_images=64", "--width=0.25"]
    name = f"{row.replace('/', '_')}_seed{seed}"
    return Item(name, seconds, "apps.train", arguments, rehearsal, epochs)


def _table(table, rows, seconds):
    """Rows of a table; they are measured later, with TensorFlow."""
    rehearsal = ["--epochs=1", "--train_images=32", f"--rows={rows.split('|')[0]}"]
    arguments = [f"--table={table}", f"--rows={rows}"]
    return Item(table, seconds, "apps.reproduce", arguments, rehearsal)


_RDA = "rda_cifar10"
_WRN = "sparse_momentum_cifar10"
ITEMS = (
    _steps("resnet_18", rounds=8, steps=60, seconds=75),
    _steps("lenet_5", rounds=15, steps=200, seconds=60),
    Item("selection", 25, "benchmarks.selection", ["--repeats=20"], ["--sizes=1000"]),
    _training(f"{_RDA}/resnet-18-rda-+-asr-staged", 300, seconds=380),
    _training(f"{_WRN}/wrn-28-2-100", 250, seconds=330),
    _training(f"{_WRN}/wrn-28-2-20", 250, seconds=360),
    _training(f"{_WRN}/wrn-28-2-10", 250, seconds=360),
    _training(f"{_RDA}/vgg16-rda-+-asr", 300, seconds=270),
    _training(f"{_RDA}/vgg16-three-step-pruning", 300, seconds=270),
    *(_training(f"{_RDA}/resnet-18-rda-+-asr-staged", 300, 380, seed) for seed in (1, 2)),
    _table("edge_frontier", "dense-width-2|dense-width-1|rda-by-channel", seconds=400),
    _table("implicit_cifar10", "basicnet-adam-l2|basicnet-momentum-sgd-l2", seconds=500),
)


def run(items, out, data_dir, seconds, rehearse=False):
    """Run the items that fit.

    Args:
        items: the `Item`s, the most important first.
        out: `pathlib.Path` of the folder.
        data_dir: folder of the images.
        seconds: float, the available time.
        rehearse: bool; run each item for a few steps, regardless of its expected time.

    Returns:
        `{name: {"expected", "seconds", "state"}}`; the state is `"done"`, `"stopped"`, `"does not
        fit"` or `"failed: ..."`. `queue.json` has the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    record = out / "queue.json"
    found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for item in items:
        if found.get(item.name, {}).get("state") == "done":
            continue
        expected = item.seconds_left(out)
        left = end - time.monotonic() - _GRACE
        if not rehearse and expected > left:
            found[item.name] = {"expected": expected, "seconds": 0.0, "state": "does not fit"}
        else:
            found[item.name] = {"expected": expected, **_run(item, out, data_dir, left, rehearse)}
        print(item.name, found[item.name], flush=True)
        _write(found, out)
    return found


def _run(item, out, data_dir, seconds, rehearse):
    folder = out / item.name
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    start = time.monotonic()
    with open(out / f"{item.name}.log", "ab") as log:
        process = subprocess.Popen(
            item.command(out, data_dir, rehearse),
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            status = process.wait(seconds)
            state = "done" if status == 0 else f"failed: status {status}, see {item.name}.log"
        except subprocess.TimeoutExpired:
            _stop(process)
            state = "stopped"
    if state == "done":
        _thin_out(folder)
    return {"seconds": round(time.monotonic() - start, 1), "state": state}


def _stop(process):
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _thin_out(folder):
    """Delete the checkpoint of a finished training, and files that are too large to keep."""
    for path in folder.glob("*checkpoint"):
        shutil.rmtree(path)
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size > LARGEST:
            path.unlink()


def _write(found, out):
    lines = ["| item | expected, s | measured, s | |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| {name} | {entry['expected']:.0f} | {entry['seconds']:.0f} | {entry['state']} |"
        for name, entry in found.items()
    ]
    texts = {"queue.json": json.dumps(found, indent=1), "queue.md": "\n".join(lines)}
    for name, text in texts.items():
        part = out / f"{name}.part"
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(out / name)


def main(_):
    values = flags.FLAGS
    out = pathlib.Path(values.out) / ("rehearsal" if values.rehearse else "")
    found = run(ITEMS, out, values.data_dir, 60 * values.minutes, values.rehearse)
    print((out / "queue.md").read_text(encoding="utf-8"))
    if any(entry["state"].startswith("failed") for entry in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    # Defined here, because tests import this module together with programs with the same flags.
    flags.DEFINE_float("minutes", 13.0, "that there are", lower_bound=0.1)
    flags.DEFINE_string("data_dir", None, "folder with cifar10.npz", required=True)
    flags.DEFINE_string("out", "runs/gpu_queue", "folder of the results")
    flags.DEFINE_bool("rehearse", False, "every item, for a few steps")
    app.run(main)
