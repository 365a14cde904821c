"""The thread that writes a run's files, so that the training need not wait for a disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

IDLE = 1.0  # seconds after which a thread that has nothing to write ends


@dataclass(frozen=True)
class Job:
    """A file or a folder to write.

    Attributes
    ----------
    name : str
        What it is called in messages. Of jobs of one name that wait, with none between them that is not to be
        done `again`, the newest counts.
    write : callable
        Writes it, on the writer's thread.
    again : bool
        Whether it is tried again, before what comes next is written, when it failed.
    """

    name: str
    write: Callable[[], None]
    again: bool = False


class Writer:
    """Does jobs of writing on a thread of its own, in their order.

    Where one fails for want of room or of permission, one warning is logged, and the next when it has worked
    in between. What comes after a failed job that is to be done `again` is written only once that has worked:
    a checkpoint never stands beside weights that are older than it says.

    The thread ends when it has had nothing to do for a second, and with the process: call `close` to have
    everything written.
    """

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._failed: list[Job] = []
        self._current: Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._error: OSError | None = None
        self._mistake: BaseException | None = None

    def submit(self, job: Job) -> None:
        """Let a job be done; return at once."""
        self._raise_mistake()
        with self._changed:
            self._put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def is_busy(self, name: str) -> bool:
        """Tell whether a job of that name waits or is being done."""
        self._raise_mistake()
        current = self._current
        return (current is not None and current.name == name) or any(job.name == name for job in self._jobs)

    def wait(self) -> OSError | None:
        """Wait until all is written; return what hindered the last writing, None where nothing did.

        Raises
        ------
        Exception
            What a job raised that no disk is to blame for; `submit` and `is_busy` raise it too.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs and self._current is None)
        self._raise_mistake()
        return self._error

    def close(self) -> OSError | None:
        """Try what failed once more, and wait until all is written; return what hindered it."""
        with self._changed:
            # What waits in the queue will try them by itself.
            if self._failed and not self._jobs and self._current is None:
                self._jobs, self._failed = self._failed, []
                self._changed.notify_all()
        return self.wait()

    def _put(self, job: Job) -> None:
        """Put a job in the place of one that it makes needless, else behind all."""
        for place, waiting in reversed(list(enumerate(self._jobs))):
            if waiting.name == job.name:
                self._jobs[place] = job
                return
            if not waiting.again:
                # What comes after it must not be there when it is written.
                break
        self._jobs.append(job)

    def _raise_mistake(self) -> None:
        if self._mistake is not None:
            mistake, self._mistake = self._mistake, None
            raise mistake

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: bool(self._jobs), timeout=IDLE):
                    self._thread = None
                    return
                self._current = self._jobs.pop(0)
            try:
                self._do(self._current)
            except BaseException as mistake:
                self._mistake = mistake
            with self._changed:
                self._current = None
                self._changed.notify_all()

    def _do(self, job: Job) -> None:
        waiting = [failed for failed in self._failed if failed.name != job.name]
        self._failed = []
        for place, each in enumerate([*waiting, job]):
            try:
                each.write()
            except OSError as error:
                self._failed = [left for left in [*waiting, job][place:] if left.again]
                self._fail(each, error)
                return
        if self._error is not None:
            log.info("the %s was written: there is room again", job.name)
        self._error = None

    def _fail(self, job: Job, error: OSError) -> None:
        if self._error is None:
            log.warning(
                "the %s cannot be written (%s): what was saved before still stands, training goes on, and "
                "the next one is tried when it is due",
                job.name,
                error.strerror or error,
            )
        self._error = error
