"""Output files that are whole or absent."""

import contextlib
import os
import pathlib
import tempfile


@contextlib.contextmanager
def replacing(path):
    """A temporary path in the folder of `path`, moved to `path` when the block succeeds.

    When the block raises, nothing is left behind and a file that was at `path` stays as it was.

    Args:
        path: the file to write.

    Yields:
        A `pathlib.Path` of the same name in a new folder beside `path`.

    Raises:
        ValueError: `path` is a folder, its folder does not exist or cannot be written.

    Example:

    >>> with replacing("result.json") as temporary:
    ...     temporary.write_text(json.dumps(result))
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"`path` is a folder; give the name of a file. Received: path={path}")
    try:
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ValueError(
            f"`path` cannot be written: {error.strerror}. Give a file in a folder that exists and "
            f"may be written. Received: path={path}"
        ) from error
    with folder as name:
        temporary = pathlib.Path(name) / path.name
        yield temporary
        os.replace(temporary, path)
