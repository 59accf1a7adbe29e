"""The same network and budget by every method that ends at a given number of weights."""

import pathlib
import tempfile

import numpy as np

import keras_sparse
from apps.tables import recipes
from apps.tables.table import Column, Row, Table
from keras_sparse import channels, surgery
from keras_sparse.masks.schedules import CosineSchedule, CubicSchedule, LinearSchedule

_RATE = 0.1
_VERIFIED_SAMPLES = 100


def _rda(run, density):
    return keras_sparse.RDA(
        recipes.staged(_RATE, run), target_sparsity=1 - density, ramp_steps=run.part(1, 3)
    )


def _recipe(run, density):
    """Sparse momentum, and at a density of 1 dense SGD."""
    return recipes.sparse_momentum(density)(run)


def _rigl(run, density):
    return keras_sparse.RigL(
        recipes.staged(_RATE, run),
        density=density,
        prune_rate=CosineSchedule(0.3, 0.0, end=run.part(3, 4)),
        seed=run.seed,
    )


def _set(run, density):
    return keras_sparse.SET(
        recipes.staged(_RATE, run),
        density=density,
        prune_rate=0.3,
        seed=run.seed,
        **recipes.every_epoch(run),
    )


def _snip(run, density):
    return keras_sparse.SNIP(recipes.staged(_RATE, run), density=density)


def _static(run, density):
    return keras_sparse.StaticSparse(recipes.staged(_RATE, run), density=density, seed=run.seed)


def _gradual(run, density):
    schedule = CubicSchedule(0.0, 1 - density, begin=run.steps // 10, end=run.part(1, 2))
    return keras_sparse.MagnitudePruning(recipes.staged(_RATE, run), schedule, update_every=100)


def _three_step(run, density):
    # Trained at the full rate up to here, pruned at once, retrained while the rate falls.
    half = run.steps * 45 // 100
    schedule = LinearSchedule(0.0, 1 - density, begin=half, end=half + 1)
    return keras_sparse.MagnitudePruning(
        recipes.staged(_RATE, run), schedule, scope="global", update_every=100
    )


_METHODS = {
    "RDA": _rda,
    "sparse momentum": _recipe,
    "RigL": _rigl,
    "SET": _set,
    "SNIP": _snip,
    "static": _static,
    "gradual pruning": _gradual,
    "three-step pruning": _three_step,
}


def _measure(model, dataset):
    # Imported here: only this table needs TensorFlow.
    from export import benchmark, convert

    hidden = [layer for layer in channels.layers_with_channels(model) if layer.name != "logits"]
    norms = np.concatenate([channels.channel_norms(layer) for layer in hidden])
    smaller, _ = surgery.remove_dead_channels(model)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "smaller.tflite")
        convert(smaller, path, samples=dataset.x_test[:_VERIFIED_SAMPLES])
        timing = benchmark([path]).files[0]
        size = path.stat().st_size
    return {
        **recipes.measure(model, dataset),
        "dead": 100 * float((norms == 0).mean()),
        "size": size / 1000,
        "latency": timing.min_ms,
    }


def _row(method, density, build):
    return Row(
        labels={"method": method, "weights": f"{100 * density:g}%"},
        # RDA thresholds with an l1 of its own.
        model=recipes.network(
            "lenet_300_100",
            l2=0 if method == "RDA" else recipes.L2,
            kernel_initializer=recipes.PYTORCH_START,
        ),
        optimizer=lambda run: build(run, density),
        batch_size=recipes.BATCH_SIZE,
    )


TABLE = Table(
    title="LeNet-300-100 on MNIST at one budget, by method",
    reference="arXiv 1807.04222, 1907.04840, 1911.11134, 1707.04780, 1810.02340, 1710.01878",
    rows=(
        _row("dense", 1.0, _recipe),
        *(
            _row(method, density, build)
            for density in (0.05, 0.01)
            for method, build in _METHODS.items()
        ),
    ),
    columns={
        **recipes.COLUMNS,
        "dead": Column("dead units, %", ".1f"),
        "size": Column("TFLite after surgery, kB", ".0f"),
        "latency": Column("latency, ms", ".4f"),
        "seconds_per_epoch": Column("s an epoch"),
    },
    measure=_measure,
    epochs=20,
    held_out=0.1,
    backend="tensorflow",
    notes="""\
The recipe of sparse_momentum_mnist, in fewer epochs, for every method; the masks start as their
papers have them, uniform or ERK. Latency is that of the fastest inference.""",
)
