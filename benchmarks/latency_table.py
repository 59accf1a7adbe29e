"""Predicted against measured latency of networks that lost random channels.

    python -m benchmarks.latency_table --networks=resnet_8 --folder=FOLDER

Each network loses random channels of its groups. A table of its layers predicts the time of the
rest, as a share of the whole network. Files and times are kept in FOLDER, so a run that was stopped
continues. `--notime` writes files and times nothing.
"""

import json
import pathlib

import keras
import numpy as np
from absl import app, flags, logging

from benchmarks.machine import describe
from export import LatencyTable
from export.latency.layers import reference_file, tflite_bytes
from export.latency.resizing import ResizableFile
from export.latency.scaling import narrowed
from export.latency.timing import HostTimer
from keras_sparse import models
from keras_sparse.compression.cost import CostModel
from keras_sparse.compression.planning import removable_groups

NETWORKS = {
    "resnet_8": lambda: models.resnet_8(width=2.0),
    "mobilenet_v1": lambda: models.mobilenet_v1((96, 96, 3), classes=2, width=0.25),
    "mobilenet_v2": lambda: keras.applications.MobileNetV2(
        (96, 96, 3), alpha=0.35, weights=None, classes=10
    ),
}
_NETWORKS = flags.DEFINE_list("networks", list(NETWORKS), f"Of {', '.join(NETWORKS)}.")
_QUANTIZE = flags.DEFINE_list("quantize", ["float32", "int8"], "Kinds of files.")
_SHAPES = flags.DEFINE_integer("shapes", 30, "Shapes of each network.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Decides the shapes.")
_FOLDER = flags.DEFINE_string("folder", None, "Keeps files, tables and times.", required=True)
_TIME = flags.DEFINE_bool("time", True, "Measure, after the files are written.")


def main(_):
    """Prints a row for each network and kind of file."""
    logging.set_verbosity(logging.ERROR)
    print(describe())
    print("| network | file | within 5% | within 10% | worst | median ratio |")
    print("| --- | --- | ---: | ---: | --- | ---: |")
    for network in _NETWORKS.value:
        keras.utils.set_random_seed(0)
        model = NETWORKS[network]()
        _scatter(model)
        groups = removable_groups(model)
        widths = _random_widths(groups, _SHAPES.value, _SEED.value)
        for kind in _QUANTIZE.value:
            folder = pathlib.Path(_FOLDER.value) / f"{network}-{kind}"
            folder.mkdir(parents=True, exist_ok=True)
            files = _files(model, groups, widths, kind, folder)
            if _TIME.value:
                predicted, measured = _times(model, groups, widths, kind, files, folder)
                _print(network, kind, predicted / measured)


def _scatter(model):
    """Set distinct weights, because the converter shares equal weights between layers."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.05, 0.1, weight.shape))


def _random_widths(groups, shapes, seed):
    """The whole network, then `shapes` random ones between a tenth and all of each group."""
    rng = np.random.default_rng(seed)
    full = np.array([group.size for group in groups])
    shares = rng.uniform(0.1, 1.0, (shapes, len(groups)))
    return [full, *np.maximum(np.round(shares * full).astype(int), 1)]


def _files(model, groups, widths, kind, folder):
    """The TFLite file of each shape, as bytes.

    The whole network and a narrower one are converted; the other shapes are made by resizing.
    """
    full = [group.size for group in groups]
    narrow = [_narrow_width(groups, i) for i in range(len(groups))]
    contents = []
    for own in (full, narrow):
        path = folder / f"{'whole' if own is full else 'narrow'}.tflite"
        if not path.exists():
            path.write_bytes(tflite_bytes(narrowed(model, groups, own), _kind(kind)))
        contents.append(path.read_bytes())
    file = ResizableFile(*contents, full, narrow)
    return [file.at([int(width) for width in own]) for own in widths]


def _narrow_width(groups, i):
    """Different widths for groups of the same size, so that a size identifies the group."""
    same = [j for j, group in enumerate(groups) if group.size == groups[i].size]
    return groups[i].size - 1 - same.index(i)


def _kind(name):
    return None if name == "float32" else name


def _times(model, groups, widths, kind, files, folder):
    """Predicted and measured seconds of the shapes."""
    path, table = folder / f"times-{_SEED.value}.json", folder / "table.json"
    if not path.exists():
        least = LatencyTable.measure(model, quantize=_kind(kind), path=table).whole["reference"]
        measured = HostTimer(reference_file(_kind(kind)), least=least)(files)
        path.write_text(json.dumps({"measured": measured}))
    measured = np.array(json.loads(path.read_text())["measured"])
    table = LatencyTable.load(table)
    costs = CostModel(model, groups, {"latency": table})
    predicted = np.array([costs.total("latency", own) for own in widths])
    # Shares of the whole network's time, as budgets are given.
    return predicted[1:] / predicted[0], measured[1:] / measured[0]


def _print(network, kind, ratios):
    off = np.abs(ratios - 1)
    worst = ", ".join(f"{ratio:.2f}" for ratio in ratios[np.argsort(-off)[:3]])
    print(
        f"| {network} | {kind} | {np.mean(off <= 0.05):.0%} | {np.mean(off <= 0.1):.0%} | {worst} "
        f"| {np.median(ratios):.3f} |",
        flush=True,
    )


if __name__ == "__main__":
    app.run(main)
