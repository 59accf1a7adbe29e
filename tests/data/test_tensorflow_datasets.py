"""With a stand-in for the package, as TensorFlow Datasets is optional and brings no data."""

import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_sparse.data import TensorFlowDataset


class StandInBuilder:
    """What `TensorFlowDataset` asks of a builder: 24 images of one colour each, 3 classes."""

    data_dir = "somewhere/pictures"

    def __init__(self, splits=("train", "validation", "test"), keys=("image", "label")):
        label = types.SimpleNamespace(num_classes=3)
        self.info = types.SimpleNamespace(
            splits={name: types.SimpleNamespace(num_examples=24) for name in splits},
            features=dict.fromkeys(keys, label),
        )
        self.read = []

    def as_dataset(self, split, decoders, shuffle_files):
        assert decoders == {"image": "not decoded"}
        assert not shuffle_files
        self.read.append(split)
        colours = tf.data.Dataset.range(24)
        return colours.map(
            lambda n: {
                "image": tf.io.encode_png(tf.fill((5, 6, 3), tf.cast(n * 10, "uint8"))),
                "label": n % 3,
            }
        )


@pytest.fixture
def stand_in(monkeypatch):
    module = types.ModuleType("tensorflow_datasets")
    module.decode = types.SimpleNamespace(SkipDecoding=lambda: "not decoded")
    module.made = StandInBuilder()
    module.builder = lambda name, data_dir: module.made
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return module


def numbers(batches):
    """Of the images, by their colours."""
    x = np.concatenate([x for x, _ in batches])
    return np.rint((x[:, 0, 0, 0] * 0.229 + 0.485) * 25.5).astype(int)


def test_epochs(stand_in):
    images = TensorFlowDataset("pictures", size=4)
    assert stand_in.made.read == ["train", "validation"]
    assert (images.classes, images.train_images, images.test_images) == (3, 24, 24)
    batches = list(images.train(6, seed=1).take(8).as_numpy_iterator())
    orders = numbers(batches[:4]), numbers(batches[4:])
    for order, part in zip(orders, (batches[:4], batches[4:]), strict=True):
        np.testing.assert_array_equal(np.sort(order), np.arange(24))
        np.testing.assert_array_equal(np.concatenate([y for _, y in part]), order % 3)
    assert (orders[0] != orders[1]).any()
    np.testing.assert_array_equal(numbers(images.test(5).as_numpy_iterator()), np.arange(24))
    np.testing.assert_array_equal(
        numbers(images.test(5, 7).as_numpy_iterator()), [0, 3, 6, 10, 13, 17, 20]
    )


@pytest.mark.parametrize("global_seed", [0, 1])
def test_training_goes_on_with_the_same_bits_whatever_the_global_seed(stand_in, global_seed):
    images = TensorFlowDataset("pictures", size=4)
    whole = list(images.train(6, seed=1).take(8).as_numpy_iterator())
    tf.random.set_seed(global_seed)
    resumed = images.train(6, seed=1, first_epoch=1).take(4).as_numpy_iterator()
    for one, other in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_without_validation_images_those_for_testing(stand_in):
    stand_in.made = StandInBuilder(splits=("train", "test"))
    TensorFlowDataset("pictures")
    assert stand_in.made.read == ["train", "test"]


def test_what_is_wrong_is_said(stand_in):
    stand_in.made = StandInBuilder(splits=())
    message = r"Found none in somewhere/pictures. Run tensorflow_datasets.builder\('pictures'\)"
    with pytest.raises(ValueError, match=message):
        TensorFlowDataset("pictures")
    stand_in.made = StandInBuilder(keys=("audio", "label"))
    with pytest.raises(ValueError, match="pictures has no image in its examples"):
        TensorFlowDataset("pictures")

    def unknown(name, data_dir):
        raise ValueError(f"Dataset {name} not found.\nAvailable datasets: ...")

    stand_in.builder = unknown
    with pytest.raises(ValueError, match=r"Received: name='x', .* \(Dataset x not found.\)$"):
        TensorFlowDataset("x")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match="pip install tensorflow-datasets"):
        TensorFlowDataset("imagenet2012")
