import numpy as np
import pytest

from keras_sparse import data


def arrays(**changes):
    rng = np.random.default_rng(0)
    parts = {
        "x_train": rng.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_train": rng.integers(0, 10, 20, dtype=np.uint8),
        "x_test": rng.integers(0, 256, (5, 28, 28), dtype=np.uint8),
        "y_test": rng.integers(0, 10, 5, dtype=np.uint8),
    }
    return {key: value for key, value in {**parts, **changes}.items() if value is not None}


def write(folder, name="mnist", **changes):
    np.savez(folder / f"{name}.npz", **arrays(**changes))
    return folder


def test_digits():
    digits = data.load("digits")
    assert digits.input_shape == (8, 8, 1)
    assert len(digits.x_train) + len(digits.x_test) == 1797
    assert len(digits.x_test) == 359
    np.testing.assert_allclose(digits.x_train.mean(), 0, atol=1e-5)
    np.testing.assert_allclose(digits.x_train.std(), 1, atol=1e-5)
    assert set(digits.y_train) == set(digits.y_test) == set(range(10))


def test_reads_the_layout_of_keras(tmp_path):
    mnist = data.load("mnist", write(tmp_path))
    assert mnist.x_train.shape == (20, 28, 28, 1)
    assert mnist.x_train.dtype == np.float32
    np.testing.assert_array_equal(mnist.y_test, arrays()["y_test"])
    raw = arrays()["x_test"].astype("float64")[..., None]
    train = arrays()["x_train"]
    np.testing.assert_allclose(mnist.x_test, (raw - train.mean()) / train.std(), atol=1e-5)


def test_reads_labels_in_a_column_and_normalises_each_channel(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 32, 32, 3)) * np.array([1, 2, 3]) // 3
    changes = {"x_train": images, "x_test": images[:5], "y_train": np.arange(20)[:, None] % 10}
    cifar = data.load("cifar10", write(tmp_path, "cifar10", **changes))
    assert cifar.y_train.shape == (20,)
    np.testing.assert_allclose(cifar.x_train.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(cifar.x_train.std((0, 1, 2)), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": None}, "has no y_train"),
        ({"y_train": np.full(20, 10)}, "integers from 0 to 9. Received: int64 from 10 to 10"),
        ({"y_test": np.full(5, -1)}, "y_test of mnist must hold integers from 0 to 9"),
        ({"y_test": np.zeros(5)}, "must hold integers"),
        ({"y_test": np.zeros(4, int)}, "one label for each of the 5 images"),
        ({"x_train": np.zeros((20, 8, 8))}, "images of shape"),
        ({"x_train": np.full((20, 28, 28), np.nan)}, "finite numbers"),
        ({"x_test": np.full((5, 28, 28), 1e300)}, r"finite numbers, of at most 1e\+30.*1e\+300"),
        ({"x_test": np.full((5, 28, 28), -3e38, "float32")}, "finite numbers, of at most"),
        ({"x_train": np.full((20, 28, 28), 1j)}, "real numbers. Received: complex128"),
        ({"x_train": np.full((20, 28, 28), True)}, "real numbers. Received: bool"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        data.load("mnist", write(tmp_path, **changes))


def test_pixels_in_half_precision_stay_finite(tmp_path):
    images = np.full((20, 28, 28), 6e4, "float16")
    images[::2] = -6e4
    mnist = data.load("mnist", write(tmp_path, x_train=images, x_test=images[:5]))
    np.testing.assert_allclose(np.abs(mnist.x_train), 1, rtol=1e-5)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(ValueError, match="There is no file"):
        data.load("mnist", tmp_path)
    path = write(tmp_path) / "mnist.npz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="cannot be read as a data set"):
        data.load("mnist", tmp_path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="it has no x_train, y_train"):
        data.load("mnist", tmp_path)
    path.write_bytes(b"no zip at all")
    with pytest.raises(ValueError, match="cannot be read as a data set"):
        data.load("mnist", tmp_path)


def test_a_download_that_fails_is_explained(monkeypatch):
    def fail():
        raise OSError("no network")

    monkeypatch.setattr("keras.datasets.mnist.load_data", fail)
    with pytest.raises(ValueError, match="Without a network, give a folder"):
        data.load("mnist")


def test_unknown_names():
    with pytest.raises(ValueError, match="`name` must be one of digits, mnist"):
        data.load("imagenet")
    with pytest.raises(ValueError, match="leave `data_dir` away"):
        data.load("digits", "data")
