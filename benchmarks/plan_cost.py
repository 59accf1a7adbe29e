"""Compares the time of `keras_sparse.plan` with a copy of the model and with its batches.

    python -m benchmarks.plan_cost

It prints the seconds of a plan to half the MACs with random weights and data, of `clone_model`, and
of forward and backward passes of the 20 batches for the importance; and the time of the plan
without these passes divided by that of the clone. `allocation="uniform"` chooses no widths by
importance. The default compares about ten choices of widths on up to 20 batches of the data each.
"""

import time

import keras
import numpy as np
from absl import app, flags

import keras_sparse
from benchmarks.machine import describe
from keras_sparse.compression import Taylor

_MODELS = flags.DEFINE_list("models", "ResNet50,MobileNetV2", "Names in keras.applications.")
_SIZE = flags.DEFINE_integer("size", 224, "Height and width of the input.", lower_bound=32)
_BATCHES = flags.DEFINE_integer("batches", 20, "Batches of the importance.", lower_bound=1)
_ALLOCATIONS = flags.DEFINE_list("allocations", "uniform,importance", "Of `plan`.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 8, "Images in a batch.", lower_bound=1)


def main(_):
    """Prints a row for each model."""
    print(describe())
    print("| model | allocation | clone, s | batches, s | plan, s | without batches / clone |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    count = _BATCHES.value * _BATCH_SIZE.value
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, _SIZE.value, _SIZE.value, 3)).astype("float32")
    y = rng.integers(0, 10, count)
    for name in _MODELS.value:
        keras.utils.set_random_seed(0)
        model = getattr(keras.applications, name)(input_shape=x.shape[1:], weights=None, classes=10)
        model.compile(loss="sparse_categorical_crossentropy")
        clone = min(_seconds(lambda m=model: keras.models.clone_model(m)) for _ in range(3))
        batches = _seconds(lambda m=model: _passes(m, x, y))
        importance = Taylor(batches=_BATCHES.value, batch_size=_BATCH_SIZE.value)
        for allocation in _ALLOCATIONS.value:
            arguments = {"importance": importance, "allocation": allocation}
            plan = _seconds(
                lambda m=model, a=arguments: keras_sparse.plan(m, (x, y), target={"macs": 0.5}, **a)
            )
            figures = f"{clone:.2f} | {batches:.1f} | {plan:.1f} | {(plan - batches) / clone:.1f}"
            print(f"| {name} | {allocation} | {figures} |", flush=True)


def _seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _passes(model, x, y):
    """An epoch of a copy of the model, including tracing, as in the importance."""
    copy = keras.models.clone_model(model)
    copy.compile(loss=model.loss, optimizer=keras.optimizers.SGD(0.0))
    copy.fit(x, y, batch_size=_BATCH_SIZE.value, verbose=0)


if __name__ == "__main__":
    app.run(main)
