import numpy as np
import pytest

from keras_sparse.array_files import read_arrays


def test_both_formats(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3))
    np.savez_compressed(tmp_path / "xy.npz", x=np.arange(3), y=np.zeros(2))
    np.testing.assert_array_equal(read_arrays(tmp_path / "x.npy"), [0, 1, 2])
    found = read_arrays(tmp_path / "xy.npz")
    assert {name: array.shape for name, array in found.items()} == {"x": (3,), "y": (2,)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("damage", ["shorter", "zeros", "text", "empty"])
def test_damaged_files(save, damage, tmp_path):
    path = tmp_path / "x.npz"
    save(path, x=np.random.default_rng(0).normal(size=2000))
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "shorter": whole[:middle],
            "zeros": whole[: middle - 99] + bytes(99) + whole[middle:],
            "text": b"no arrays",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(ValueError, match=r"\w"):
        read_arrays(path)


def test_files_that_are_missing_or_hold_objects(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_arrays(tmp_path / "x.npz")
    np.save(tmp_path / "x.npy", np.array([None, {}]), allow_pickle=True)
    with pytest.raises(ValueError, match="Object arrays"):
        read_arrays(tmp_path / "x.npy")
