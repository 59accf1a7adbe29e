"""Compares training steps with those of SGD with Nesterov momentum and Adam, under XLA.

    python -m benchmarks.step_overhead --model=lenet_5      (KERAS_BACKEND=jax for JAX)
    python -m benchmarks.step_overhead --model=resnet_18 --steps=4

Every round trains with each optimizer for a few steps by `fit`, one after the other. A ratio is the
time of one optimizer divided by that of another in the same round, by wall clock and by CPU time,
as the median over the rounds. Mask updates, and RDA's search for its threshold (every 20 steps),
are timed separately, as a step with an update minus one without. They are added with their
frequency in a long training, minus the updates in the steps of the round. "Apart" is with the
callback `SeparateUpdates`, "by hand" with `update_masks()` between steps. First step is the time of
the first `fit` of one batch, including tracing and compilation. Memory is the optimizer's variables
divided by the parameters.
"""

import time

import keras
import numpy as np
from absl import app, flags

from benchmarks.machine import describe
from keras_sparse import models
from keras_sparse.callbacks import SeparateUpdates
from keras_sparse.optimizers import RDA, RigL, SparseMomentum

_MODEL = flags.DEFINE_enum("model", "lenet_5", ["lenet_5", "resnet_18"], "what is trained")
_BATCH = flags.DEFINE_integer("batch", None, "default: 100 for LeNet-5, 32 for ResNet-18")
_STEPS = flags.DEFINE_integer("steps", 40, "steps of each optimizer in a round", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "rounds, after one to warm up", lower_bound=1)
_COMPILES = flags.DEFINE_integer("compiles", 2, "first steps of each", lower_bound=1)
_EVERY = flags.DEFINE_integer("update_every", 100, "steps between mask updates", lower_bound=1)
_JIT = flags.DEFINE_bool("jit", True, "compile with XLA")

# The step number at which timing starts: RDA's ramp is over.
_START = 1_000_000

# Almost zero, because the time of a step depends on the weights: Adam at 1e-3 took 4% less time
# than Adam at this rate, although both compute the same.
_RATE = 1e-20

OPTIMIZERS = {
    "SGD, Nesterov": lambda: keras.optimizers.SGD(_RATE, momentum=0.9, nesterov=True),
    "Adam": lambda: keras.optimizers.Adam(_RATE),
    "RDA": lambda: RDA(_RATE),
    "RDA, apart": lambda: RDA(_RATE),
    "SparseMomentum": lambda: SparseMomentum(_RATE, density=0.1, update_every=_EVERY.value),
    "SparseMomentum, apart": lambda: SparseMomentum(_RATE, density=0.1, update_every=_EVERY.value),
    "SparseMomentum, by hand": lambda: SparseMomentum(_RATE, density=0.1, update_every=None),
    "RigL": lambda: RigL(_RATE, density=0.1, update_every=_EVERY.value),
    "RigL, apart": lambda: RigL(_RATE, density=0.1, update_every=_EVERY.value),
}
STOCK = ("SGD, Nesterov", "Adam")


class Training:
    """A model with its optimizer, and the times of its steps."""

    def __init__(self, optimizer, batch, callbacks=()):
        keras.utils.set_random_seed(0)
        self.model = getattr(models, _MODEL.value)()
        self.batch, self.callbacks = batch, list(callbacks)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer, loss, jit_compile=_JIT.value)
        rng = np.random.default_rng(0)
        shape = self.model.input_shape[1:]
        self.x = rng.random((batch * _STEPS.value, *shape), dtype="float32")
        self.y = rng.integers(0, 10, batch * _STEPS.value)

    def seconds(self, steps, iteration=_START + 1):
        """Wall and CPU seconds of this many steps, starting at an iteration."""
        if self.model.optimizer.built:
            self.model.optimizer.iterations.assign(iteration)
        examples = steps * self.batch
        options = {"batch_size": self.batch, "shuffle": False, "callbacks": self.callbacks}
        wall, cpu = time.perf_counter(), time.process_time()
        self.model.fit(self.x[:examples], self.y[:examples], verbose=0, **options)
        return np.array([time.perf_counter() - wall, time.process_time() - cpu])

    def next_update(self, step):
        """The next step with an update, starting at this one."""
        return step + self.model.optimizer.batches_without_update(step)

    def bytes_per_parameter(self):
        variables = self.model.optimizer.variables
        size = sum(np.prod(v.shape) * np.dtype(_plain(v.dtype)).itemsize for v in variables)
        return size / sum(np.prod(v.shape) for v in self.model.trainable_variables)


def _plain(dtype):
    return {"bfloat16": "float16"}.get(dtype, dtype)


def first_steps(batch):
    """Seconds of the first step of each optimizer, and the trainings."""
    seconds = {name: [] for name in OPTIMIZERS}
    for _ in range(_COMPILES.value):
        trainings = {}
        for name, make in OPTIMIZERS.items():
            callbacks = [SeparateUpdates()] if name.endswith("apart") else []
            trainings[name] = Training(make(), batch, callbacks)
            seconds[name].append(trainings[name].seconds(1))
    return {name: np.median(s, axis=0) for name, s in seconds.items()}, trainings


def missing_updates(name, training):
    """Updates per step in a long training, minus those in a timed step."""
    if name in STOCK:
        return 0
    if name.endswith("by hand"):
        return 1 / _EVERY.value
    first = training.next_update(_START + 1)
    period = training.next_update(first + 1) - first
    timed = len(range(first, _START + 1 + _STEPS.value, period))
    return 1 / period - timed / _STEPS.value


def rounds(trainings):
    """By optimizer, arrays of (round, clock): seconds of a step, and of an update."""
    steps = {name: [] for name in trainings}
    updates = {name: [] for name in trainings}
    for number in range(_ROUNDS.value + 1):
        for name, training in trainings.items():
            step = training.seconds(_STEPS.value) / _STEPS.value
            update = _update_seconds(name, training)
            if number:  # the first round warms up
                steps[name].append(step)
                updates[name].append(update)
    return ({k: np.array(v) for k, v in times.items()} for times in (steps, updates))


def _update_seconds(name, training):
    if name in STOCK:
        return np.zeros(2)
    if not name.endswith("by hand"):
        return training.seconds(1, training.next_update(_START + 1)) - training.seconds(1)
    wall, cpu = time.perf_counter(), time.process_time()
    training.model.optimizer.update_masks()
    # One compiled function computes all masks, so waiting for one is enough.
    mask = next(iter(training.model.optimizer.masks.values()))
    keras.ops.convert_to_numpy(keras.ops.any(keras.ops.convert_to_tensor(mask)))
    return np.array([time.perf_counter() - wall, time.process_time() - cpu])


def main(_):
    batch = _BATCH.value or {"lenet_5": 100, "resnet_18": 32}[_MODEL.value]
    print(describe())
    print(f"{_MODEL.value}, batch {batch}, XLA {_JIT.value}, an update each {_EVERY.value} steps")
    Training(keras.optimizers.SGD(0.01), batch).seconds(1)  # one-time work of the process
    first, trainings = first_steps(batch)
    steps, updates = rounds(trainings)
    print(
        "| optimizer | step, ms | update, ms | / SGD: wall | CPU | / Adam: wall | CPU | "
        "first step, s: wall | CPU | bytes per parameter |"
    )
    print("|---" * 10 + "|")
    for name, training in trainings.items():
        # The median update, because the difference of single steps is noisy.
        update = np.median(updates[name], axis=0)
        whole = steps[name] + update * missing_updates(name, training)
        row = [f"{1e3 * np.median(steps[name][:, 0]):.1f}", f"{1e3 * update[0]:.1f}"]
        for other in ("SGD, Nesterov", "Adam"):
            row += [f"{ratio:.3f}" for ratio in np.median(whole / steps[other], axis=0)]
        row += [f"{seconds:.1f}" for seconds in first[name]]
        row.append(f"{training.bytes_per_parameter():.2f}")
        print(f"| {name} | " + " | ".join(row) + " |")


if __name__ == "__main__":
    app.run(main)
