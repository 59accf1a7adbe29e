"""Training with and without cutting dead channels, side by side: seconds and accuracy.

    python -m benchmarks.shrinking --data_dir=FOLDER --tasks=mnist_adam,mnist_rda --epochs=30
    python -m benchmarks.shrinking --data_dir=FOLDER --tasks=cifar_adam --epochs=20 --seeds=1

For each seed the same network is trained twice from the same initial weights, by `model.fit` and by
`ShrinkingTrainer`, in alternating order. Seconds are for the whole training, including compiling,
surgery and recompiling, by wall clock and CPU time. Evaluation on the test images is not included.
The rates of Adam and RDA fall to zero by a cosine over the whole run. At a constant rate the
accuracy varies so much from epoch to epoch that it cannot distinguish two trainings. XLA is off,
because TensorFlow trains convolutions on a CPU faster without it. FOLDER holds mnist.npz and
cifar10.npz.
"""

import time

import keras
import numpy as np
from absl import app, flags
from keras.optimizers.schedules import CosineDecay

from benchmarks.machine import describe
from keras_sparse import RDA, ShrinkingTrainer, SparseMomentum, data
from keras_sparse.channels import BatchNormScale, DeadChannels, IncomingNorm

DATA_DIR = flags.DEFINE_string("data_dir", None, "folder with mnist.npz and cifar10.npz")
EPOCHS = flags.DEFINE_integer("epochs", 30, "epochs of each training", lower_bound=1)
SEEDS = flags.DEFINE_integer("seeds", 3, "trainings of each kind", lower_bound=1)
IMAGES = flags.DEFINE_integer("images", None, "training images; all by default")
L2 = flags.DEFINE_float("l2", None, "weight of the L2 penalty; the task's by default")
RATE = flags.DEFINE_float("learning_rate", 1e-3, "of Adam, at the start")
L1 = flags.DEFINE_float("l1", 1e-3, "of RDA")
BATCH = flags.DEFINE_integer("batch", None, "images of a step; the task's by default")
PATIENCE = flags.DEFINE_integer("patience", 3, "epochs until a channel counts as dead")
SHOW = flags.DEFINE_bool("show", False, "print dead channels and seconds of each epoch")


def lenet(l2, width=1):
    """LeNet-5 in Caffe's form, `width` times as wide, batch normalised if there is an L2 penalty.

    Without normalisation Adam with L2 kills only dense units, which cost little, and no filters.
    """
    l2 = keras.regularizers.L2(l2) if l2 else None
    x = inputs = keras.Input((28, 28, 1))
    for name, channels in (("conv1", 20), ("conv2", 50), ("dense", 500)):
        kernel = {"kernel_regularizer": l2, "use_bias": not l2, "name": name}
        if name == "dense":
            x = keras.layers.Dense(channels * width, **kernel)(keras.layers.Flatten()(x))
        else:
            x = keras.layers.Conv2D(channels * width, 5, **kernel)(x)
        x = _normalised(x, l2, f"{name}_bn") if l2 else x
        x = keras.layers.ReLU()(x)
        x = x if name == "dense" else keras.layers.MaxPooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, kernel_regularizer=l2, name="logits")(x))


def wide_lenet(l2):
    return lenet(l2, width=2)


def _normalised(x, l2, name):
    return keras.layers.BatchNormalization(gamma_regularizer=l2, beta_regularizer=l2, name=name)(x)


def small_vgg(l2):
    """Six 3x3 convolutions of 32 to 128 channels, batch normalised, pooled after every other."""
    l2 = keras.regularizers.L2(l2) if l2 else None
    x = inputs = keras.Input((32, 32, 3))
    for i, filters in enumerate((32, 32, 64, 64, 128, 128)):
        x = keras.layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_regularizer=l2, name=f"conv{i + 1}"
        )(x)
        x = keras.layers.ReLU()(_normalised(x, l2, f"bn{i + 1}"))
        if i % 2:
            x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(10, kernel_regularizer=l2, name="logits")(x))


def adam(steps):
    return keras.optimizers.Adam(CosineDecay(RATE.value, steps))


def rda(steps):
    return RDA(CosineDecay(0.1, steps), l1=L1.value, groups="channel", exclude="logits/")


def sparse_momentum(steps):
    return SparseMomentum(0.02, density=0.1, growth="momentum_by_channel", update_every=500)


def weights():
    return DeadChannels(IncomingNorm(1e-6), PATIENCE.value)


def scales():
    return DeadChannels(BatchNormScale(1e-3), PATIENCE.value)


# Data set, network, L2, optimizer, criterion for dead channels, batch size.
TASKS = {
    "mnist_adam": ("mnist", lenet, 5e-4, adam, scales, 100),
    "mnist_adam_wide": ("mnist", wide_lenet, 5e-4, adam, scales, 100),
    "mnist_rda": ("mnist", lenet, 0.0, rda, weights, 100),
    "mnist_rda_wide": ("mnist", wide_lenet, 0.0, rda, weights, 100),
    "mnist_sparse_momentum": ("mnist", lenet, 0.0, sparse_momentum, weights, 100),
    "cifar_adam": ("cifar10", small_vgg, 5e-4, adam, scales, 128),
    "cifar_rda": ("cifar10", small_vgg, 0.0, rda, weights, 128),
}
NAMES = flags.DEFINE_list("tasks", list(TASKS)[:4], f"of {', '.join(TASKS)}")


class Show(keras.callbacks.Callback):
    """Prints the dead channels of each layer after each epoch."""

    def __init__(self, dead_channels):
        super().__init__()
        self._dead_channels = dead_channels

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.process_time() - self._start
        dead = self._dead_channels.criterion.dead(self._dead_channels.criterion.scores(self.model))
        counts = ", ".join(f"{name} {mask.sum()}/{mask.size}" for name, mask in dead.items())
        print(f"  {epoch + 1}: {seconds:.1f} CPU s, loss {logs['loss']:.4f}, {counts}", flush=True)


def train(task, dataset, seed, shrinks):
    """`(wall seconds, CPU seconds, test accuracy, the trainer or None)`."""
    _, build, l2, optimizer, dead_channels, batch = TASKS[task]
    keras.utils.set_random_seed(seed)
    model = build(l2 if L2.value is None else L2.value)
    x, y = dataset.x_train[: IMAGES.value], dataset.y_train[: IMAGES.value]
    batch = BATCH.value or batch
    steps = EPOCHS.value * -(-len(x) // batch)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(steps), loss, metrics=["accuracy"], jit_compile=False)
    trainer = ShrinkingTrainer(model, dead_channels()) if shrinks else None
    wall, cpu = time.perf_counter(), time.process_time()
    (trainer or model).fit(
        x,
        y,
        batch_size=batch,
        epochs=EPOCHS.value,
        verbose=0,
        callbacks=[Show(dead_channels())] if SHOW.value else None,
    )
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    model = trainer.model if trainer else model
    _, accuracy = model.evaluate(dataset.x_test, dataset.y_test, batch_size=500, verbose=0)
    return *seconds, accuracy, trainer


def compare(task, seed):
    """A row of the table for one seed."""
    dataset = data.load(TASKS[task][0], DATA_DIR.value)
    found = {shrinks: train(task, dataset, seed, shrinks) for shrinks in _turns(seed)}
    (wall, cpu, accuracy, _), (s_wall, s_cpu, s_accuracy, trainer) = found[False], found[True]
    cuts = trainer.shrinks
    left = [1.0, 1.0]
    if cuts:
        left = [cuts[-1].macs[1] / cuts[0].macs[0], cuts[-1].parameters[1] / cuts[0].parameters[0]]
    at = ", ".join(str(cut.epoch) for cut in cuts) or "none"
    row = [task, str(seed), f"{wall:.1f}", f"{s_wall:.1f}", f"{wall / s_wall:.2f}"]
    row += [f"{cpu:.1f}", f"{s_cpu:.1f}", f"{cpu / s_cpu:.2f}", f"{accuracy:.4f}"]
    row += [f"{s_accuracy:.4f}", *(f"{share:.3f}" for share in left), at]
    print(f"| {' | '.join(row)} |", flush=True)
    return wall / s_wall, cpu / s_cpu, accuracy, s_accuracy


def _turns(seed):
    return (False, True) if seed % 2 == 0 else (True, False)


def main(_):
    print(describe())
    print(f"{EPOCHS.value} epochs, {IMAGES.value or 'all'} training images")
    warm_up = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    warm_up.compile("adam", "mse")
    warm_up.fit(np.zeros((8, 4)), np.zeros((8, 1)), verbose=0)
    print(
        "| task | seed | fit, s | shrinking, s | ratio | fit, CPU s | shrinking | ratio | "
        "accuracy: fit | shrinking | MACs left | parameters left | cut after epoch |"
    )
    print("| --- |" + " ---: |" * 12, flush=True)
    for task in NAMES.value:
        rows = np.array([compare(task, seed) for seed in range(SEEDS.value)])
        wall, cpu = np.median(rows[:, :2], axis=0)
        means, spread = rows[:, 2:].mean(axis=0), rows[:, 2:].std(axis=0)
        print(
            f"{task}: median ratio {wall:.2f} wall, {cpu:.2f} CPU; accuracy "
            f"{means[0]:.4f} ± {spread[0]:.4f} and {means[1]:.4f} ± {spread[1]:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
