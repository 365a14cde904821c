"""One process at a time works on a run's folder: a lock that a dead process does not hold."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import stat
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from trainer.errors import RunError, UsageError

log = logging.getLogger(__name__)

LOCK = ".lock"

# Another command that asks whether the lock is held holds it for a moment itself.
_PATIENCE = 0.25
_UNKNOWN_TO_FILE_SYSTEM = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
_MOST_FOLDERS = 10_000

_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, as it said of itself; `pid` is 0 where it said nothing."""

    pid: int = 0
    host: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "another process"


class RunLock:
    """The lock on a run's folder, held from the making of this object until `release` or the process's end.

    It is `flock` on the folder's `.lock`, a file that stays. The system lets go of it when the process ends,
    however it ends. Processes that Python forks do not inherit it, nor do programs that are started. On NFS
    the system asks the server, so that it holds among machines; a file system that knows no locks is named in
    a warning, and the folder is not locked then.

    Parameters
    ----------
    folder : Path
        The run's folder, which exists.

    Raises
    ------
    UsageError
        Another process works on the folder; the message names it.
    RunError
        The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = _locked(folder)
        _held.add(self)

    def release(self) -> None:
        """Let go of the folder; again does nothing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def is_there(self) -> bool:
        """Tell whether the folder still has the file that is locked; it has not where it was deleted."""
        if self._descriptor is None:
            return self.folder.is_dir()
        try:
            return _is_at(self._descriptor, self.folder / LOCK)
        except OSError:
            # A file system that does not answer for a while has not lost the folder.
            return True

    def renew(self) -> None:
        """Lock the folder anew, where its file is gone and the folder is there again.

        Raises
        ------
        UsageError, RunError
            As the making of a lock does.
        """
        lost, self._descriptor = self._descriptor, _locked(self.folder)
        if lost is not None:
            os.close(lost)

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _forget(self) -> None:
        """Close a forked process's copy, without letting go of what its parent holds."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder(folder: Path) -> Holder | None:
    """Return the process that works on a run's folder, None where there is none.

    Raises
    ------
    RunError
        The lock cannot be read, or the file system knows no locks.
    """
    try:
        descriptor = _open(folder / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{folder / LOCK} cannot be read ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(descriptor)
    except OSError as error:
        raise RunError(f"{folder}: its file system knows no locks ({error.strerror})") from error
    finally:
        os.close(descriptor)
    return None


def is_held(folder: Path) -> bool:
    """Tell whether a process works on a run's folder; see `holder`."""
    return holder(folder) is not None


def claim(folder: Path) -> RunLock:
    """Make a folder that no other run has, and lock it: `folder` itself, or with -2, -3, ... after its name.

    Of processes that claim the same folder at once, each gets one of its own.

    Returns
    -------
    RunLock
        On the new folder, its `folder`.

    Raises
    ------
    RunError
        The folder cannot be made.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, _MOST_FOLDERS):
            candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
            with contextlib.suppress(FileExistsError):
                candidate.mkdir()
                return RunLock(candidate)
    except OSError as error:
        cure = "choose another with hydra.run.dir"
        raise RunError(f"the folder {folder} cannot be made ({error.strerror}): {cure}") from error
    raise RunError(f"{folder} and {_MOST_FOLDERS} after it are there already: delete some")


def _locked(folder: Path) -> int | None:
    path = folder / LOCK
    try:
        while True:
            descriptor = _open(path, os.O_RDWR | os.O_CREAT)
            try:
                is_locked = _take(descriptor, folder)
                # A file that was deleted meanwhile is not the one that others find.
                if not is_locked or _is_at(descriptor, path):
                    break
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        if not is_locked:
            os.close(descriptor)
            return None
        _sign(descriptor)
    except OSError as error:
        cure = "make the folder writable, or choose another with hydra.run.dir"
        raise RunError(f"{path} cannot be locked ({error.strerror}): {cure}") from error
    return descriptor


def _take(descriptor: int, folder: Path) -> bool:
    """Lock an open file; return False where its file system knows no locks."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise UsageError(
                    f"{folder} is in use by {_read_holder(descriptor)}: wait for it or stop it, or choose "
                    "another folder with hydra.run.dir"
                ) from error
            time.sleep(0.02)
        except OSError as error:
            if error.errno not in _UNKNOWN_TO_FILE_SYSTEM:
                raise
            log.warning(
                "the file system of %s knows no locks (%s): take care that no second process works on the "
                "folder",
                folder,
                error.strerror,
            )
            return False


def _open(path: Path, flags: int) -> int:
    """Open an ordinary file: no link to elsewhere, and nothing that opening could wait for."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no ordinary file")
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _sign(descriptor: int) -> None:
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n"
    # The name is for messages alone: a full disk must not hinder a run from going on.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)


def _read_holder(descriptor: int) -> Holder:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return Holder(int(said["pid"]), str(said["host"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return Holder()


def _forget_all() -> None:
    for lock in list(_held):
        lock._forget()


os.register_at_fork(after_in_child=_forget_all)
