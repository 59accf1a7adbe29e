"""Compares the shape that `plan` chooses with all others that fit the same budget.

    python -m benchmarks.plan_shapes --model=WIDE.keras --data_dir=FOLDER --out=FOLDER

WIDE.keras is a trained network for CIFAR-10, such as `apps.reproduce --table=compression` leaves.
The other shapes have widths in multiples of `--multiple`, and none of them can get one group wider
within the budget. For each, the script prints the loss right after the cut, on the training images
on which `plan` compares shapes. With `--recover`, the shape of `plan`, and those given, are trained
by `compress` on all but the last tenth of the training images, and evaluated on that tenth and on
the test images.
"""

import dataclasses
import itertools
import pathlib

import keras
import numpy as np
from absl import app, flags

import keras_sparse
from benchmarks.machine import describe
from export import LatencyTable
from keras_sparse import data
from keras_sparse.compression.planning import Planner, removable_groups
from keras_sparse.compression.recovery import default_peak

_MODEL = flags.DEFINE_string("model", None, "the trained network, a .keras file")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with cifar10.npz")
_OUT = flags.DEFINE_string("out", "runs/plan_shapes", "folder of the latency table and trainings")
_SHARE = flags.DEFINE_float("latency", 0.5, "limit, as a share of the network's latency")
_MULTIPLE = flags.DEFINE_integer("multiple", 16, "of the widths", lower_bound=1)
_BEST = flags.DEFINE_integer("best", 10, "shapes to print", lower_bound=1)
_RECOVER = flags.DEFINE_multi_string("recover", [], "'plan', or widths such as 16,16,48,64")
_EPOCHS = flags.DEFINE_integer("epochs", 3, "of each recovery", lower_bound=1)

_HELD_OUT, _BATCH_SIZE = 0.1, 128


class _Shapes(Planner):
    """A `Planner` for shapes that are given."""

    def __init__(self, model, batches, table):
        latency = {"latency": table}
        groups = removable_groups(model)
        super().__init__(
            model, batches, groups, importance=None, allocation="importance", latency=latency
        )
        self.limits = self.budget({"latency": _SHARE.value})

    def seconds(self, widths):
        """The predicted latency."""
        return self._costs.total("latency", np.array(widths))

    def loss(self, widths):
        """The loss on training data right after the cut."""
        return self._loss(np.array(widths))

    def all(self):
        """All shapes of multiples within the limit that no other one contains."""
        sizes = self._costs.full()
        menus = [range(min(_MULTIPLE.value, n), n + 1, _MULTIPLE.value) for n in sizes]
        limit = self.limits.limits["latency"]
        fitting = {w for w in itertools.product(*menus) if self.seconds(w) <= limit}
        return [w for w in fitting if not any(v in fitting for v in _wider(w))]


def _wider(widths):
    for i, width in enumerate(widths):
        yield (*widths[:i], width + _MULTIPLE.value, *widths[i + 1 :])


def _compare(shapes, plan):
    print("| widths | of the latency, predicted | loss after the cut |\n| --- | ---: | ---: |")
    full = shapes.seconds([group.size for group in plan.groups])
    found = sorted((shapes.loss(widths), widths) for widths in shapes.all())
    rows = [(shapes.loss(plan.widths), tuple(plan.widths)), *found[: _BEST.value]]
    for number, (loss, widths) in enumerate(rows):
        name = "" if number else " (`plan`)"
        share = shapes.seconds(widths) / full
        print(f"| {_text(widths)}{name} | {share:.3f} | {loss:.3f} |", flush=True)
    if not found:
        raise app.UsageError(f"No widths in multiples of {_MULTIPLE.value} fit the budget.")
    median = np.median([loss for loss, _ in found])
    print(f"\n{len(found)} shapes; the median of their losses is {median:.3f}")


def _recover(plan, model, batches, task):
    held_out = task.held_out(_HELD_OUT)
    keras.utils.set_random_seed(0)
    result = keras_sparse.compress(
        model,
        batches,
        plan=plan,
        epochs=_EPOCHS.value,
        learning_rate=default_peak(model, _EPOCHS.value),
        validation_data=(held_out.x_test, held_out.y_test),
        verbose=0,
        folder=pathlib.Path(_OUT.value) / f"{_text(plan.widths).replace(' ', '-')}-{_EPOCHS.value}",
    )
    test = result.model.evaluate(task.x_test, task.y_test, 500, verbose=0, return_dict=True)
    accuracies = [result.metrics[stage]["accuracy"] for stage in ("cut", "recovered")]
    cells = [f"{100 * value:.2f}" for value in (*accuracies, test["accuracy"])]
    print(f"| {_text(plan.widths)} | {_EPOCHS.value} | {' | '.join(cells)} |", flush=True)


def _text(widths):
    return " ".join(map(str, widths))


def main(_):
    """Prints both tables."""
    print(describe())
    out = pathlib.Path(_OUT.value)
    out.mkdir(parents=True, exist_ok=True)
    model = keras.models.load_model(_MODEL.value)
    task = data.load("cifar10", data_dir=_DATA_DIR.value)
    part = task.held_out(_HELD_OUT)
    batches = data.Batches(
        part.x_train, part.y_train, _BATCH_SIZE, seed=0, augment=data.crop_and_flip
    )
    shapes = _Shapes(model, batches, LatencyTable.measure(model, path=out / "latency.json"))
    plan = shapes.plan(shapes.limits)
    if not _RECOVER.value:
        _compare(shapes, plan)
        return
    print("| widths | epochs | held out, after the cut | held out | test |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in _RECOVER.value:
        widths = plan.widths if name == "plan" else np.array(name.split(","), int)
        _recover(dataclasses.replace(plan, widths=widths), model, batches, task)


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "data_dir"])
    app.run(main)
