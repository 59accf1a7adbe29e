"""Checks of files to read and folders to write, without Keras."""

import contextlib
import os
import pathlib

from export.report import NoReportError, read_runs


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


def check_run(folder, program):
    """Raise a ValueError if a folder holds a run of another program.

    Args:
        folder: the folder, which need not exist.
        program: `"train"`, `"compress"` or `"reproduce"`; None if the folder may hold no run.
    """
    found = _program_of(pathlib.Path(folder))
    if found not in (None, program):
        raise ValueError(f"--out={folder} holds a run of the program {found}: {_AWAY}")


def _program_of(folder):
    """The program whose run a folder holds, finished or not; None without a run."""
    if (folder / "table.json").exists():
        return "reproduce"
    if (folder / "settings.json").exists() or (folder / "recovery").exists():
        return "compress"
    with contextlib.suppress(NoReportError):
        return read_runs([folder / "report.json"])[0].program
    return "train" if (folder / "history.csv").exists() else None


def check_inputs(inputs, outputs):
    """Raise a ValueError if a file that is read is also written.

    Args:
        inputs: `{flag: path}`; a path may be None.
        outputs: paths.
    """
    written = {os.path.realpath(path) for path in outputs}
    for flag, path in inputs.items():
        if path and os.path.realpath(path) in written:
            raise ValueError(
                f"--{flag}={path} would be replaced by a file of the run: give another --out."
            )


_AWAY = "move it away, or give another --out."
