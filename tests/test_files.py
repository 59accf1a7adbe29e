import errno
import os
import subprocess
import sys

import pytest

from keras_sparse.files import remove_left_behind, replacing


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


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "out.json"
    with pytest.raises(OSError, match=r"No space left.*out\.json'$"), replacing(path) as temporary:
        fail(temporary)
    assert not os.listdir(tmp_path)


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


KILLED = """
import os, pathlib, signal, sys
sys.modules["keras_sparse"] = type(sys)("keras_sparse")  # without Keras
sys.modules["keras_sparse"].__path__ = [sys.argv[1]]
from keras_sparse.files import replacing
with replacing(sys.argv[2]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    signal.pause()
"""


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    path = tmp_path / "out[1].json"
    folder = os.path.dirname(sys.modules["keras_sparse"].__file__)
    command = [sys.executable, "-c", KILLED, folder, path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    process.stdout.readline()
    (tmp_path / f".{path.name}.swp").touch()  # an editor's
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert len(os.listdir(tmp_path)) == 3  # the other process lives
    process.kill()
    process.communicate()
    remove_left_behind(tmp_path, "other.json")
    assert len(os.listdir(tmp_path)) == 3
    with replacing(tmp_path / "other.json") as temporary:
        temporary.touch()
        remove_left_behind(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".out[1].json.swp", "other.json", "out[1].json"]
