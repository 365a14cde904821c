"""A few lines at the foot of a terminal that change, and everything else that is printed above them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

LONGEST_KEPT = 2**20


class Terminal:
    """Takes the terminal for itself from `open` to `close`.

    Until then, what this process and those that it starts print, in whatever language and through whatever
    library, goes to a file in memory, and from there above the lines, so that nothing tears them. (A pipe
    would block a process that prints much while this one is busy, and end it when this one is gone.)

    Rich's own live display is not used: it counts on a terminal whose width stays.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[int, int]] = []
        self._file: IO[str] | None = None
        self._printed: int | None = None
        self._read = 0
        self._shown: list[int] = []
        self._drawn: tuple[int, str] | None = None
        self.console = Console()

    def open(self) -> None:
        """Take the terminal."""
        _flush()
        target = os.dup(1)
        self._file = os.fdopen(target, "w", encoding=sys.stdout.encoding or "utf-8", errors="replace")
        self.console = Console(file=self._file, highlight=False, markup=False, emoji=False)
        self._printed = _memory()
        for stream in (1, 2):
            # Errors that the person sends to a file stay there.
            if os.isatty(stream):
                self._kept.append((stream, os.dup(stream)))
                os.dup2(self._printed, stream)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines there are now."""
        try:
            size = os.get_terminal_size(self._file.fileno() if self._file else 1)
        except (OSError, ValueError):
            return 80, 24
        return size.columns or 80, size.lines or 24  # a terminal may not know its own

    def draw(self, lines: Sequence[Text]) -> None:
        """Put lines in the place of those before, below what was printed meanwhile."""
        if self._file is None:
            return
        width, height = self.size
        above = self._take_printed()
        self.console.size = (width, height)
        with self.console.capture() as capture:
            for line in lines:
                self.console.print(line, no_wrap=True, overflow="crop", crop=True)
        drawn = (width, capture.get())
        if drawn == self._drawn and not above:
            return
        text = self._erasure(width) + above + capture.get()
        self._drawn = drawn
        self._shown = [line.cell_len for line in lines]
        with contextlib.suppress(OSError):
            # The terminal may be gone: the sweep goes on without it.
            self._file.write(text)
            self._file.flush()

    def close(self) -> None:
        """Take the lines away and give the terminal back; what was printed stays."""
        if self._file is None:
            return
        _flush()
        self.draw([])
        for stream, kept in self._kept:
            os.dup2(kept, stream)
            os.close(kept)
        with contextlib.suppress(OSError):
            self._file.close()
        if self._printed is not None:
            os.close(self._printed)
        self._kept, self._file, self._printed = [], None, None

    def _erasure(self, width: int) -> str:
        """Return what takes away the lines there; a terminal that became narrow has folded them."""
        rows = sum(max(-(-length // width), 1) for length in self._shown)
        return f"\r\x1b[{rows}A\x1b[J" if rows else ""

    def _take_printed(self) -> str:
        """Return the whole lines that were printed since the last time."""
        if self._printed is None:
            return ""
        size = os.fstat(self._printed).st_size
        content = os.pread(self._printed, size - self._read, self._read) if size > self._read else b""
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        if self._read == size and size > LONGEST_KEPT:
            os.ftruncate(self._printed, 0)
            self._read = 0
        return whole.decode("utf-8", "replace")


def _memory() -> int:
    """Return a file that lies in memory, or as near to it as the system can have it."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("printed")
    else:
        descriptor, name = tempfile.mkstemp()
        Path(name).unlink()
    os.set_inheritable(descriptor, False)
    # Every writer at the end, whoever was there before.
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
