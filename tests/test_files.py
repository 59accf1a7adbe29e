import os

import pytest

from keras_sparse.files import replacing


def test_the_file_appears_when_the_block_has_ended(tmp_path):
    path = tmp_path / "out.json"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.name == path.name
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.json"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "out.json") as temporary:
        temporary.touch()
    assert (tmp_path / "out.json").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_block_that_raises_changes_nothing(error, tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(error), replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_a_path_in_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing("out.json") as temporary:
        temporary.touch()
    assert os.listdir() == ["out.json"]


@pytest.mark.parametrize("name", ["", "absent/out.json", "file/out.json"])
def test_paths_that_cannot_be_written(name, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`path`.*Received: path="), replacing(tmp_path / name):
        pass
