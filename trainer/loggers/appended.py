"""A file that grows as a run goes on, whole after a full disk, a deletion and a step back."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

from trainer.errors import RunError
from trainer.loggers.atomic import write_atomically

log = logging.getLogger(__name__)


class AppendedFile:
    """Appends to a file, each piece as soon as it is known; what it holds is in memory as well.

    Where the disk does not take it (it is full), there is one warning, and the rest waits in memory until
    there is room again: a run is worth more. A file that was deleted is written anew, with all that it held.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    content : bytes
        What it is to hold to begin with, instead of what stands there.

    Raises
    ------
    RunError
        The folder cannot be written.
    """

    def __init__(self, path: Path, content: bytes = b"") -> None:
        self.path = path
        self._content = bytearray(content)
        self._written = 0
        self._warned = False
        try:
            # Unbuffered: what write() has taken is with the system, and survives the process.
            self._file: io.FileIO | None = io.FileIO(path, "a")
            if path.read_bytes()[: len(content)] == content:
                self._written = len(content)
            os.truncate(path, self._written)
        except OSError as error:
            cure = "make the folder writable, or choose another with hydra.run.dir"
            raise RunError(f"{path} cannot be written ({error.strerror}): {cure}") from error
        self._write()

    @property
    def content(self) -> bytes:
        """What the file holds, or will as soon as there is room."""
        return bytes(self._content)

    @property
    def waiting(self) -> bytes:
        """What the disk did not take yet."""
        return bytes(self._content[self._written :])

    def append(self, content: bytes) -> None:
        """Write more, after what still waits."""
        self._content += content
        self._write()

    def cut(self, length: int) -> None:
        """Take away what stands behind the first `length` bytes, what waits too."""
        del self._content[length:]
        if self._file is not None and self._written > length:
            self._written = length
            os.truncate(self._file.fileno(), length)

    def replace(self, content: bytes) -> None:
        """Let the file hold something else: a reader finds the old content or the new, never a part."""
        self._content = bytearray(content)
        self._written = 0
        try:
            write_atomically(self.path, content)
            self._reopen()
            self._written = len(content)
        except OSError:
            # What can be written now may be less than before; all of it follows when there is room.
            self.cut(len(content))
            if self._file is not None:
                os.truncate(self._file.fileno(), 0)
            self._write()

    def close(self) -> bytes:
        """Write what still waits, close the file, and return what is lost."""
        if self._file is None:
            return b""
        self._write()
        self._file.close()
        self._file = None
        return self.waiting

    def _reopen(self) -> None:
        before, self._file = self._file, io.FileIO(self.path, "a")
        if before is not None:
            before.close()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            if not os.fstat(self._file.fileno()).st_nlink:
                self._reopen()
                self._written = 0
            while self._written < len(self._content):
                # A full disk may take a part of a piece: the rest follows it when there is room.
                self._written += self._file.write(self._content[self._written :])
        except OSError as error:
            if not self._warned:
                log.warning("%s cannot be written (%s); it waits in memory", self.path.name, error.strerror)
            self._warned = True
            return
        if self._warned:
            log.info("%s can be written again and is complete", self.path.name)
            self._warned = False
