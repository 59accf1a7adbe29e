"""Checks of files to read and folders to write, without Keras."""

import os
import pathlib


def check_data(dataset, data_dir):
    """Raise a ValueError if the file of a data set cannot exist.

    Args:
        dataset: a name of `keras_sparse.data.DATASETS`.
        data_dir: the folder that the user gave, or None.
    """
    if not data_dir:
        return
    if dataset == "digits":
        raise ValueError("digits comes with scikit-learn: leave --data_dir away.")
    path = pathlib.Path(data_dir) / f"{dataset}.npz"
    if not path.is_file():
        raise ValueError(f"There is no file {path}: put it there or name its folder.")


def check_out(folder, files=(), folders=()):
    """Raise a ValueError unless a program may write to a folder.

    Args:
        folder: the folder, which need not exist.
        files: names in it that must not be folders.
        folders: names in it that must not be files.
    """
    folder = pathlib.Path(folder)
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"--out={folder} cannot be written: {there} is no folder, or none that may be written."
        )
    for name in files:
        if (folder / name).is_dir():
            raise ValueError(f"--out={folder} has a folder {name}, where a file must go: {_AWAY}")
    for name in folders:
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            raise ValueError(f"--out={folder} has a file {name}, where a folder must go: {_AWAY}")


_AWAY = "move it away, or give another --out."
