"""Libraries in the compile cache: found by what they were made of, and used only where they are whole.

A library's file is called NAME.CONTENT.so: NAME says what it was made of, CONTENT is a checksum of its bytes.
It is made in a folder of its own and renamed, so that any number of processes read and write without a lock,
and one that is killed leaves nothing that another would use.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import UsageError

log = logging.getLogger(__name__)

_BUILDING = "building-"
_TIDIED = "tidied"
_DAY = 86400.0
_UNUSED_DAYS = 31


class Store:
    """The libraries of a folder.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names: dict[str, list[str]] = {}
        self._looked_at = 0
        self._told = False

    def find(self, name: str) -> Path | None:
        """Return the file of a library; None where there is none that is whole.

        What is damaged is deleted, and told once.

        Raises
        ------
        UsageError
            Where it cannot be deleted.
        """
        self._look()
        for file in list(self._names.get(name, ())):
            path = self.folder / file
            try:
                if checksum(path) == file.split(".")[1]:
                    _mark_used(path)
                    return path
            except FileNotFoundError:
                continue
            self._remove(path)
        return None

    def keep(self, name: str, built: Path) -> Path:
        """Take a library that was built in a folder of `building`, and return its file."""
        path = self.folder / f"{name}.{checksum(built)}.so"
        built.replace(path)
        return path

    @contextmanager
    def building(self) -> Iterator[Path]:
        """Give a folder on the same disk, gone at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_own(), dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def is_shared(self) -> bool:
        """Tell whether another process is building here too, or was killed while it did."""
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self.folder)  # noqa: PTH208 (names are all that is wanted)
            return any(name.startswith(_BUILDING) and not name.startswith(_own()) for name in names)
        return False

    def tidy(self) -> None:
        """Delete, once a day, what nobody has used for a month, and what killed processes left."""
        mark = self.folder / _TIDIED
        # Another process may tidy too, and a cache that cannot be tidied can still be read.
        with contextlib.suppress(OSError):
            if _age(mark) < _DAY:
                return
            mark.touch()
            for entry in list(os.scandir(self.folder)):
                path = Path(entry.path)
                if entry.name.startswith(_BUILDING) and _age(path) > _DAY:
                    shutil.rmtree(path, ignore_errors=True)
                elif entry.is_file() and _age(path) > _UNUSED_DAYS * _DAY:
                    path.unlink(missing_ok=True)

    def _look(self) -> None:
        """List the folder, where another process may have added to it."""
        try:
            changed = self.folder.stat().st_mtime_ns
        except OSError:
            self._names.clear()
            return
        if changed == self._looked_at:
            return
        names: dict[str, list[str]] = {}
        with os.scandir(self.folder) as entries:
            for file in sorted(entry.name for entry in entries):
                parts = file.split(".")
                if len(parts) == 3 and parts[2] == "so":
                    names.setdefault(parts[0], []).append(file)
        # Within one tick of the file system's clock, a second change would not show.
        recent = time.time_ns() - changed < 50_000_000
        self._names, self._looked_at = names, 0 if recent else changed

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"the compile cache is damaged, and {path} cannot be deleted ({error.strerror}): delete it, "
                "or give another folder by device.compile_cache=..."
            ) from error
        if not self._told:
            self._told = True
            log.warning("the compile cache %s has damaged modules: they are compiled anew", self.folder)


def checksum(path: Path) -> str:
    """Return a checksum of a file's bytes, as it stands in a library's name."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _own() -> str:
    return f"{_BUILDING}{os.getpid()}-"


def _mark_used(path: Path) -> None:
    """Note at most once a day that a library is used; file systems seldom note each reading."""
    with contextlib.suppress(OSError):
        if _age(path) > _DAY:
            os.utime(path)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
