"""Images a second of the input pipelines, alone and during a training.

    python -m benchmarks.input_pipeline                    (KERAS_BACKEND=jax for JAX)
    python -m benchmarks.input_pipeline --folder=imagenet  (a folder for ImageFolder)

Every round runs each pipeline once, one after the other. A ratio is the median over the rounds of a
pipeline's images a second divided by the first pipeline's in the same round. Images of CIFAR's size
are random numbers. Without `--folder` large images are generated: JPEG files of 500x375 pixels.
"""

import collections
import contextlib
import itertools
import pathlib
import tempfile
import time

import keras
import numpy as np
from absl import app, flags

from benchmarks.machine import describe
from keras_sparse.data import Batches, ImageFolder, crop_and_flip
from keras_sparse.models import small_cnn

_BATCH = flags.DEFINE_integer("batch", 128, "images a step", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 100, "steps of each way in a round", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 7, "rounds, after one to warm up", lower_bound=1)
_FOLDER = flags.DEFINE_string("folder", None, "folder with train/ and val/ of class folders")
_LARGE = flags.DEFINE_integer("large_batches", 4, "batches of large images", lower_bound=1)
_IMAGES = 50_000


def compare(ways, images):
    """Prints images a second of each pipeline, the ratio to the first, and the CPU time.

    Args:
        ways: dict from a name to a function that reads a given number of images.
        images: int.
    """
    rates, costs = ({name: [] for name in ways} for _ in range(2))
    for _ in range(_ROUNDS.value + 1):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            way()
            rates[name].append(images / (time.perf_counter() - wall))
            costs[name].append((time.process_time() - cpu) / images)
    first = np.array(next(iter(rates.values()))[1:])
    print("| | images a second | ratio | CPU, µs an image |")
    print("| --- | ---: | ---: | ---: |")
    for name in ways:
        found = np.array(rates[name][1:])  # the first round warms up
        cost = 1e6 * np.median(costs[name][1:])
        print(
            f"| {name} | {np.median(found):,.0f} | {np.median(found / first):.2f} | {cost:,.0f} |"
        )


def cifar():
    """Pipelines for images like CIFAR's, as functions that return a new iterator.

    A new iterator is needed each time, because work done ahead during other pipelines must not
    count.
    """
    rng = np.random.default_rng(0)
    x = rng.random((_IMAGES, 32, 32, 3), dtype="float32")
    y = rng.integers(0, 10, _IMAGES)

    def in_turn():
        """The batches of `Batches`, each made when it is requested."""
        for step in itertools.count():
            drawn = np.random.default_rng(step)
            chosen = drawn.integers(0, _IMAGES, _BATCH.value)
            yield crop_and_flip(x[chosen], drawn), y[chosen]

    batch = x[: _BATCH.value], y[: _BATCH.value]
    return {
        "one batch, again and again": lambda: itertools.repeat(batch),
        "Batches": lambda: Batches(x, y, _BATCH.value),
        "Batches, crop_and_flip": lambda: Batches(x, y, _BATCH.value, augment=crop_and_flip),
        "crop_and_flip, not ahead": in_turn,
    }


def alone(stream, steps):
    """A function that reads this many batches of a new stream."""
    return lambda: collections.deque(itertools.islice(stream(), steps), maxlen=0)


def trained(make_model, stream, steps):
    """A function that trains for some steps on a new stream."""
    keras.utils.set_random_seed(0)
    model = make_model((32, 32, 3))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss)
    return lambda: model.fit(
        (batch for batch in stream()), steps_per_epoch=steps, shuffle=False, verbose=0
    )


def one_layer(input_shape):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(inputs)))


@contextlib.contextmanager
def large_images():
    """The given folder, or a folder of generated pictures."""
    if _FOLDER.value:
        yield _FOLDER.value
        return
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for part, number in itertools.product(("train", "val"), range(_LARGE.value * _BATCH.value)):
            folder = pathlib.Path(name) / part / f"class{number % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            # Noise on smooth colours, like a photograph, so that decoding is realistic.
            image = keras.ops.image.resize(rng.random((24, 32, 3)), (375, 500), "bicubic")
            image = np.asarray(image) * 255 + rng.normal(0, 12, (375, 500, 3))
            keras.utils.save_img(folder / f"{number}.jpg", image.clip(0, 255), scale=False)
        yield name


def large(folder):
    """Pipelines for a folder's images, including Keras' own, which only resizes."""
    images = ImageFolder(folder)
    resized = keras.utils.image_dataset_from_directory(
        pathlib.Path(folder) / "train",
        image_size=(224, 224),
        batch_size=_BATCH.value,
        verbose=False,
    )
    return {
        "image_dataset_from_directory": resized.as_numpy_iterator,
        "ImageFolder.train": images.train(_BATCH.value).as_numpy_iterator,
        "ImageFolder.test": images.test(_BATCH.value).as_numpy_iterator,
    }


def main(_):
    print(describe())
    print(f"\nImages of 32x32x3 alone, batch {_BATCH.value}, {_STEPS.value} steps\n")
    streams = cifar()
    ways = {name: alone(stream, _STEPS.value) for name, stream in streams.items()}
    del ways["one batch, again and again"]
    compare(ways, _STEPS.value * _BATCH.value)
    for make_model, steps in ((one_layer, _STEPS.value), (small_cnn, -(-_STEPS.value // 8))):
        print(f"\nIn model.fit of {make_model.__name__}, {steps} steps\n")
        ways = {name: trained(make_model, stream, steps) for name, stream in streams.items()}
        compare(ways, steps * _BATCH.value)
    with large_images() as folder:
        print("\nFiles, prepared as 224x224x3\n")
        ways = {name: alone(stream, _LARGE.value) for name, stream in large(folder).items()}
        compare(ways, _LARGE.value * _BATCH.value)


if __name__ == "__main__":
    app.run(main)
