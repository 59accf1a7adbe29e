import itertools
import pathlib
import re
import threading

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sparse.data import Batches, crop_and_flip


def shifted(images, rng):
    return images + rng.normal(size=images.shape).astype("float32")


def make_data(count=22):
    x = np.arange(count * 3, dtype="float32").reshape(count, 3) / count
    return x, np.arange(count) % 4


def make_model(**arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], **arguments)
    return model


def assert_equal_batches(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    count=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**63),
    first_epoch=st.integers(0, 1000),
)
def test_every_image_once_an_epoch_with_its_target(count, batch_size, seed, first_epoch):
    numbers = np.arange(count)
    stream = iter(Batches(numbers, -numbers, batch_size, seed, first_epoch=first_epoch))
    steps = len(Batches(numbers, numbers, batch_size))
    for _ in range(2):
        epoch = list(itertools.islice(stream, steps))
        x, y = (np.concatenate(part) for part in zip(*epoch, strict=True))
        np.testing.assert_array_equal(np.sort(x), numbers)
        np.testing.assert_array_equal(y, -x)
        assert {len(part) for part, _ in epoch[:-1]} <= {batch_size}


def test_order_depends_on_seed_and_epoch():
    numbers = np.arange(30)
    orders = [
        Batches(numbers, numbers, 30, seed, first_epoch=epoch)[0][1]
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    for one, other in itertools.combinations(orders, 2):
        assert (one != other).any()
    np.testing.assert_array_equal(orders[1], np.random.default_rng([0, 1]).permutation(30))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(0, 4))
def test_a_step_has_the_same_bits_however_it_is_reached(asked, first_epoch):
    x, y = make_data()
    whole = Batches(x, y, 4, seed=7, augment=shifted)
    resumed = Batches(x, y, 4, seed=7, augment=shifted, first_epoch=2).from_epoch(first_epoch)
    for index in asked:
        assert_equal_batches(resumed[index], whole[first_epoch * len(whole) + index])


def test_augmentation_differs_between_steps_epochs_and_seeds_and_from_the_order():
    drawn = []

    def record(images, rng):
        return np.full_like(images, rng.random())

    x, y = make_data(8)
    for seed in (0, 1):
        batches = Batches(x, y, 4, seed, augment=record)
        drawn += [float(batches[index][0][0, 0]) for index in range(6)]
    drawn += [float(np.float32(np.random.default_rng([0, epoch]).random())) for epoch in range(3)]
    assert len(set(drawn)) == len(drawn)


def test_tensors_give_the_bits_of_arrays():
    x = np.random.default_rng(0).normal(size=(7, 6, 6, 2)).astype("float32")
    arrays = x, np.arange(7) % 4
    tensors = map(keras.ops.convert_to_tensor, arrays)
    one, other = (Batches(*data, 4, augment=crop_and_flip) for data in (arrays, tensors))
    for index in range(4):
        assert keras.ops.is_tensor(other[index][0])
        assert_equal_batches(one[index], map(keras.ops.convert_to_numpy, other[index]))


def test_next_batches_are_made_ahead():
    another = threading.Event()
    calls = itertools.count()

    def augment(images, rng):
        if next(calls) == 3:
            another.set()
        return images

    batches = Batches(*make_data(), 4, augment=augment)
    assert len(batches[0][0]) == 4
    assert another.wait(30)


def test_an_error_of_the_augmentation_reaches_the_training():
    def fails(images, rng):
        raise RuntimeError("no such image")

    with pytest.raises(RuntimeError, match="no such image"):
        Batches(*make_data(), 4, augment=fails)[0]


def softmax_regression(model, batches, rate=0.1):
    """The kernel that steps of gradient descent lead to."""
    kernel, bias = (w.astype("float64") for w in model.get_weights())
    for x, y in batches:
        error = np.exp(x @ kernel + bias)
        error = error / error.sum(axis=1, keepdims=True) - np.eye(4)[y]
        kernel -= rate * x.T @ error / len(x)
        bias -= rate * error.mean(axis=0)
    return kernel


@pytest.mark.parametrize(
    ("steps_per_execution", "parts"), [(1, [(0, 3)]), (3, [(0, 1), (1, 3)])], ids=str
)
def test_fit_trains_on_the_batches_in_turn_whole_or_resumed(steps_per_execution, parts):
    x, y = make_data()  # 6 steps, the last of 2 images
    model = make_model(steps_per_execution=steps_per_execution)
    stream = itertools.islice(Batches(x, y, 4, augment=shifted), 18)
    expected = softmax_regression(model, stream)
    for start, end in parts:
        batches = Batches(x, y, 4, augment=shifted, first_epoch=start)
        model.fit(
            batches,
            steps_per_epoch=len(batches),
            initial_epoch=start,
            epochs=end,
            validation_data=(x, y),
            shuffle=False,
            verbose=0,
        )
    np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-5)


def test_steps_per_execution_that_ends_with_the_epoch():
    numbers = np.arange(391)
    assert Batches(numbers, numbers, 1).steps_per_execution() == 17
    assert Batches(numbers, numbers, 1).steps_per_execution(most=16) == 1
    assert Batches(numbers, numbers, 20).steps_per_execution() == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": np.arange(3)}, "as many images as targets, and at least one. Received: 22 and 3"),
        ({"x": [], "y": []}, "Received: 0 and 0"),
        (
            {"batch_size": 0},
            "`batch_size` must be 1 or more, and an integer. Received: batch_size=0",
        ),
        ({"batch_size": 2.0}, "Received: batch_size=2.0"),
        ({"seed": -1}, "`seed` must be 0 or more, and an integer"),
        (
            {"first_epoch": None},
            "`first_epoch` must be 0 or more, and an integer. Received: first_epoch=None",
        ),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    x, y = make_data()
    with pytest.raises(ValueError, match=message):
        Batches(**{"x": x, "y": y, "batch_size": 4, **changes})


def test_the_document_shows_what_works(tmp_path):
    text = (pathlib.Path(__file__).parents[2] / "docs" / "data.md").read_text()
    (code,) = re.findall(r"<!-- tested -->\n```python\n(.*?)```", text, flags=re.S)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (20, 32, 32, 3), dtype="uint8"), np.arange(20)[:, None] % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    names = {"model": model, "folder": tmp_path}
    exec(code.replace("epochs=200", "epochs=2").replace("128", "4"), names)
    assert len(names["batches"]) == 5
    assert model.history.epoch == [0, 1]


def test_lists_are_arrays():
    x, y = make_data(8)
    batches, same = Batches(x.tolist(), y.tolist(), 4), Batches(x, y, 4)
    for one, other in zip(batches[0], same[0], strict=True):
        np.testing.assert_allclose(one, other)
