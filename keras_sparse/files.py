"""Output files that are complete or absent."""

import contextlib
import errno
import glob
import os
import pathlib
import shutil
import tempfile

try:
    import fcntl
except ImportError:  # Windows: nothing is locked or removed there
    fcntl = None

_ENDING = ".writing"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_folder(name, folder):
    """Check that files can be written to a folder, which need not exist.

    Args:
        name: str, the name of the argument.
        folder: its value.

    Raises:
        ValueError: it is no path.
        UnwritableError: the folder, or its first existing parent, is a file or is not writable.
    """
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise ValueError(f"`{name}` must be the path of a folder. Received: {name}={folder!r}")
    there = pathlib.Path(folder).absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UnwritableError(
            f"`{name}` must be a folder that may be written, and {there} is none. "
            f"Received: {name}={os.fspath(folder)!r}"
        )


class UnwritableError(OSError, ValueError):
    """A file cannot be written where it was requested."""


@contextlib.contextmanager
def replacing(path):
    """A temporary path in the folder of `path`, moved to `path` when the block succeeds.

    If the block raises, nothing is left behind, and a file at `path` is unchanged. Temporary
    files that a killed process left for the same path are removed first.

    Args:
        path: the file to write.

    Yields:
        A `pathlib.Path` with the same name in a new folder next to `path`.

    Raises:
        UnwritableError: `path` is a folder, its folder does not exist or cannot be written.
        OSError: the disk is full; the error names `path`.

    Example:

    >>> with replacing("result.json") as temporary:
    ...     temporary.write_text(json.dumps(result))
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UnwritableError(f"`path` is a folder; give the name of a file. Received: path={path}")
    remove_left_behind(path.parent, path.name)
    try:
        folder, lock = _new_folder(path)
    except OSError as error:
        raise UnwritableError(
            f"`path` cannot be written: {error.strerror}. Give a file in a folder that exists and "
            f"may be written. Received: path={path}"
        ) from error
    try:
        temporary = folder / path.name
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in _FULL:
            error.filename = os.fspath(path)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _unlock(lock)


def remove_left_behind(folder, name=None):
    """Removes the temporary folders of `replacing` that killed processes left.

    Folders of processes that are still writing stay.

    Args:
        folder: the folder for the files.
        name: name of the file; None for all files.
    """
    if fcntl is None:
        return
    pattern = f".{glob.escape(name) if name else '*'}.*{_ENDING}"
    for left in pathlib.Path(folder).glob(pattern):
        with contextlib.suppress(OSError):  # in use, or removed by now
            lock = _lock(left)
            shutil.rmtree(left, ignore_errors=True)
            _unlock(lock)


def _new_folder(path):
    """A folder next to `path`, with a lock that ends with this process."""
    while True:
        folder = tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_ENDING)
        try:
            lock = _lock(folder)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process has removed it
        except OSError:
            lock = None  # a file system without locks; nothing is removed there
        if os.path.exists(folder):
            return pathlib.Path(folder), lock


def _lock(folder):
    if fcntl is None:
        return None
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _unlock(handle):
    if handle is not None:
        os.close(handle)
