"""The same network and budget by every method that ends at a given number of weights."""

import pathlib
import tempfile

import numpy as np

from apps.reproduction import sparse
from apps.reproduction.table import Column, Row, Table
from keras_sparse import channels, surgery

_VERIFIED_SAMPLES = 100


def _pruning(density):
    return {"optimizer": "magnitude_pruning", "target_sparsity": 1 - density, "update_every": 100}


# Settings of each method, as a function of the share of the weights.
_METHODS = {
    # RDA is trained without the recipe's L2.
    "RDA": lambda density: {
        **{"optimizer": "rda", "target_sparsity": 1 - density},
        **{"ramp_steps": 1 / 3, "l2": 0.0},
    },
    "sparse momentum": sparse.sparse_momentum,
    "RigL": lambda density: {
        **{"optimizer": "rigl", "density": density, "prune_rate": 0.3, "prune_schedule": "cosine"},
        "prune_until": 0.75,
    },
    "SET": lambda density: {
        **{"optimizer": "set", "density": density, "prune_rate": 0.3, "update_every": "epoch"},
    },
    "SNIP": lambda density: {"optimizer": "snip", "density": density},
    "static": lambda density: {"optimizer": "static", "density": density},
    "gradual pruning": lambda density: {**_pruning(density), "prune_from": 0.1},
    # Train at the full rate, prune at once, fine-tune with a falling rate.
    "three-step pruning": lambda density: {
        **_pruning(density),
        **{"scope": "global", "prune_from": 0.45, "prune_until": 0.45},
    },
}


def _measure(model, dataset):
    # Imported here: only this table needs TensorFlow.
    from export import benchmark, convert

    hidden = [layer for layer in channels.layers_with_channels(model) if layer.name != "logits"]
    norms = np.concatenate([channels.channel_norms(layer) for layer in hidden])
    compact, _ = surgery.remove_dead_channels(model)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "smaller.tflite")
        convert(compact, path, samples=dataset.x_test[:_VERIFIED_SAMPLES])
        timing = benchmark([path]).files[0]
        size = path.stat().st_size
    return {
        **sparse.measure(model, dataset),
        "dead": 100 * float((norms == 0).mean()),
        "size": size / 1000,
        "latency": timing.min_ms,
    }


def _row(method, density, changes):
    return Row(labels={"method": method, "weights": f"{100 * density:g}%"}, changes=changes)


TABLE = Table(
    title="LeNet-300-100 on MNIST at one budget, by method",
    reference="arXiv 1807.04222, 1907.04840, 1911.11134, 1707.04780, 1810.02340, 1710.01878",
    settings={**sparse.MNIST, "model": "lenet_300_100", "epochs": 20},
    rows=(
        _row("dense", 1.0, sparse.sparse_momentum(1.0)),
        *(
            _row(method, density, changes(density))
            for density in (0.05, 0.01)
            for method, changes in _METHODS.items()
        ),
    ),
    columns={
        **sparse.COLUMNS,
        "dead": Column("dead units, %", ".1f"),
        "size": Column("TFLite after surgery, kB", ".0f"),
        "latency": Column("latency, ms", ".4f"),
        "seconds_per_epoch": Column("s an epoch"),
    },
    measure=_measure,
    backend="tensorflow",
    notes="""\
The recipe of sparse_momentum_mnist, in fewer epochs, for every method; the masks start as their
papers have them, uniform or ERK. Latency is that of the fastest inference.""",
)
