"""The multirun that this process launches: its folder, its lock, and what a signal does to it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any

from trainer.errors import RunError, UsageError
from trainer.folder_lock import RunLock, holder, is_held
from trainer.sweep.begun import forget_refusal
from trainer.sweep.stopping import Stopped, mark, raise_in_main_thread, unmark

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_LOOK_SECONDS = 0.2
_DEEPEST = 3

_present: ContextVar[Course | None] = ContextVar("course", default=None)


class Course:
    """A multirun, from `begin` to the end of the context.

    A signal to stop marks the sweep's folder, waits until the jobs that work in other processes have saved
    their state, and raises `Stopped`; a second SIGINT interrupts at once. The jobs of this process see to
    signals themselves.

    Attributes
    ----------
    folder : Path or None
        The sweep's, as soon as it has begun.
    received : signal.Signals or None
        The first signal to stop.
    process : int
        The number of this process.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.received: signal.Signals | None = None
        self.process = os.getpid()
        self._lock: RunLock | None = None
        self._previous: dict[signal.Signals, Any] = {}
        self._is_leaving = False
        self._is_over = False

    def begin(self, folder: Path) -> None:
        """Take a sweep's folder, which exists.

        Raises
        ------
        UsageError
            Where another process sweeps there, or jobs of an earlier launch are still at work.
        """
        self._lock = _locked(folder)
        at_work = [job for job in job_folders(folder) if _is_held(job)]
        if at_work:
            more = f", and {len(at_work) - 1} more" if len(at_work) > 1 else ""
            raise UsageError(
                f"{at_work[0]} is still being trained by {holder(at_work[0])}{more}: wait for its end, or "
                f"stop it, as by trainer-steer {at_work[0]} stop, or by scancel where Slurm runs it"
            )
        self.folder = folder
        unmark(folder)
        for job in job_folders(folder):
            forget_refusal(job)
        if threading.current_thread() is threading.main_thread():
            for number in _STOPPING:
                self._previous[number] = signal.signal(number, self._note)

    def end(self) -> None:
        """Let go of the folder, and of signals."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self._lock is not None:
            self._lock.release()

    def launched(self) -> None:
        """Note that nothing is launched any more: a signal that comes now has nothing to stop."""
        self._is_over = True

    def stop(self, number: signal.Signals) -> None:
        """Note that a signal ends the multirun, and tell its jobs."""
        self.received = self.received or number
        if self.folder is not None:
            mark(self.folder)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._is_over:
            if number == signal.SIGINT and self.received is None:
                raise KeyboardInterrupt
            return
        if self._is_leaving:
            raise Stopped(self.received or number)
        if self.received is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.stop(signal.Signals(number))
        if not self._at_work():
            raise Stopped(number)
        threading.Thread(target=self._leave, name="sweep-stop", daemon=True).start()

    def _leave(self) -> None:
        """Wait for the jobs at work, and then end what waits for those that will not begin."""
        while self._at_work():
            time.sleep(_LOOK_SECONDS)
        self._is_leaving = True
        if self._previous and self.received is not None:
            raise_in_main_thread(self.received)

    def _at_work(self) -> bool:
        return self.folder is not None and any(_is_held(job) for job in job_folders(self.folder))


@contextlib.contextmanager
def course() -> Iterator[Course]:
    """Have what Hydra launches within known as this process's multirun, if it becomes one."""
    present = Course()
    token = _present.set(present)
    try:
        yield present
    finally:
        _present.reset(token)
        present.end()


def present_course() -> Course | None:
    """Return the multirun that this process launches; None in a process that another one launched."""
    present = _present.get()
    return present if present is not None and present.process == os.getpid() else None


def job_folders(folder: Path, depth: int = 1) -> list[Path]:
    """Return the folders of a sweep's jobs that are there, also where they lie deeper."""
    found = []
    with contextlib.suppress(OSError):
        for child in sorted(folder.iterdir()):
            if child.name.startswith(".") or child.is_symlink() or not child.is_dir():
                continue
            if (child / ".hydra").is_dir():
                found.append(child)
            elif depth < _DEEPEST:
                found += job_folders(child, depth + 1)
    return found


def _locked(folder: Path) -> RunLock:
    with contextlib.suppress(RunError):
        process = holder(folder)
        if process is not None:
            raise UsageError(f"{folder} is being swept by {process}: wait for it, or stop it")
    return RunLock(folder)


def _is_held(folder: Path) -> bool:
    with contextlib.suppress(RunError):
        return is_held(folder)
    return False
