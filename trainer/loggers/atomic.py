"""Files that are whole or not there, and that stay when the machine loses its power."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

Result = TypeVar("Result")

_LEFTOVER = re.compile(r"\..+\.\d+\.part", re.DOTALL)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, also one after a crash, finds the old content or the new, never a part.

    Raises
    ------
    OSError
        The folder cannot be written, or the disk is full; what stood at `path` still stands.
    """
    replace_file(path, lambda file: file.write(content))


def replace_file(path: Path, write: Callable[[BinaryIO], Result]) -> Result:
    """Write a file in pieces, as whole as `write_atomically` does.

    The content is written beside the file, flushed to disk, and renamed over it; then the folder is flushed.

    Parameters
    ----------
    path : Path
        The file.
    write : callable
        Writes the content to the open file that it is given.

    Returns
    -------
    object
        What `write` returned.

    Raises
    ------
    OSError
        The folder cannot be written, or the disk is full; what stood at `path` still stands.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        result = write_durably(beside, write)
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
    return result


def write_durably(path: Path, write: Callable[[BinaryIO], Result]) -> Result:
    """Write a file in pieces and flush it to disk; its folder's entry is not flushed."""
    with path.open("wb") as file:
        result = write(file)
        file.flush()
        os.fsync(file.fileno())
    return result


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that files made or renamed in it are found after a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems flush entries by themselves and refuse to be asked.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def clear_leftovers(folder: Path) -> None:
    """Delete what writers that were killed left beside their files; only where no other process writes."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _LEFTOVER.fullmatch(path.name) and not path.is_dir():
                path.unlink(missing_ok=True)
