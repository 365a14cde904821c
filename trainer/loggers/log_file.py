"""`train.log`: what was logged, in a file that no fault of its disk or folder turns into noise or an end."""

from __future__ import annotations

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

MOST_WAITING = 2**20


class LogFile(logging.Handler):
    """Appends log records to a file, each as soon as it is known.

    Where the file cannot be written (a full disk, a folder that is gone), one warning is logged, and the
    lines wait in memory, the newest `MOST_WAITING` bytes of them, until it can be. A file that was deleted or
    moved is begun anew.

    Parameters
    ----------
    filename : str
        The file; it is opened at the first record.
    """

    def __init__(self, filename: str) -> None:
        super().__init__()
        self._path = Path(filename).absolute()
        self._descriptor: int | None = None
        self._waiting = b""
        self._warned = False

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record, after those that wait."""
        try:
            self._waiting += self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:  # as every logging handler does: a message that fails must not stop the program
            self.handleError(record)
            return
        try:
            self._write()
        except OSError as error:
            self._keep_newest()
            if not self._warned:
                # Before it is logged, since that record comes here too.
                self._warned = True
                log.warning(
                    "%s cannot be written (%s); its lines wait in memory", self._path.name, error.strerror
                )
        else:
            self._warned = False

    def close(self) -> None:
        """Try once more what waits, and close the file; a later record opens it again."""
        self.acquire()
        try:
            self._write()
        except OSError:
            self._keep_newest()
        finally:
            self._let_go()
            self.release()
        super().close()

    def _write(self) -> None:
        if not self._waiting:
            return
        if self._descriptor is not None and not self._is_there(self._descriptor):
            self._let_go()
        if self._descriptor is None:
            self._descriptor = os.open(
                self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666
            )
        while self._waiting:
            # A full disk may take a part of a line: the rest follows it when there is room.
            self._waiting = self._waiting[os.write(self._descriptor, self._waiting) :]

    def _is_there(self, descriptor: int) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        mine = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)

    def _keep_newest(self) -> None:
        if len(self._waiting) > MOST_WAITING:
            self._waiting = self._waiting[-MOST_WAITING:].partition(b"\n")[2]

    def _let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
