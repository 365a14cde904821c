"""The jobs of a multirun while it works, read from their folders a little at a time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer.errors import RunError
from trainer.folder_lock import is_held
from trainer.loggers.base import improves
from trainer.sweep.jobs import FINISHED, Job

WAITING, RUNNING, KILLED = "waiting", "running", "killed"
# How long a job may leave no sign before it is asked whether a process still works on it, in seconds.
SILENCE = 10.0

_DEEPEST = 3  # a job's folder below the sweep's, where hydra.sweep.subdir has slashes
_NUMBER = re.compile(r"(\d+)(?:_|$)")


@dataclass
class LiveJob:
    """One job as its folder shows it now.

    Attributes
    ----------
    number : int
        Its place in the sweep.
    folder : Path
        Its run's folder.
    state : str
        `waiting`, `running`, `killed` (no process seems to work on it, and it has no end), or the status of
        its summary.
    overrides : tuple of str
        What it was given beyond what all jobs share.
    epochs : int or None
        Epochs planned; None while that is not known.
    epoch, seconds : number
        Of the newest record: epochs trained, seconds spent on them.
    monitor, mode : str
        The metric whose best value counts, and whether the best is its `min` or its `max`.
    best : float or None
        The best value so far.
    error : str
        Of a failed job: the first line of what went wrong.
    ended : float or None
        When this process saw it end, in seconds of the monotonic clock.
    took : float or None
        Seconds that it compiled and trained, where its summary tells.
    before : bool
        Whether it had ended before this multirun began.
    """

    number: int
    folder: Path
    state: str = WAITING
    overrides: tuple[str, ...] = ()
    epochs: int | None = None
    epoch: int = 0
    seconds: float = 0.0
    monitor: str = ""
    mode: str = "min"
    best: float | None = None
    error: str = ""
    ended: float | None = None
    took: float | None = None
    before: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to come of it; one that seems killed may be on a machine that is slow."""
        return self.state not in (WAITING, RUNNING, KILLED)

    @property
    def done(self) -> float:
        """How much of it is done, from 0 to 1."""
        if self.has_ended:
            return 1.0
        return min(self.epoch / self.epochs, 1.0) if self.epochs else 0.0

    def left(self, now: float) -> float | None:
        """Return the seconds that a running job will still take, as far as its epochs so far tell."""
        if self.state != RUNNING or not self.epochs or not self.epoch or self._record_at is None:
            return None
        an_epoch = self.seconds / self.epoch
        return max(an_epoch * (self.epochs - self.epoch) - (now - self._record_at), 0.0)

    _record_at: float | None = field(default=None, repr=False)


class LiveSweep:
    """All jobs of a multirun; `poll` looks at what has changed.

    Nothing is asked of the jobs' processes, so it does not matter what launched them and where they work. A
    job that has ended is not read again, and of a running one only what was added.

    Parameters
    ----------
    folder : Path
        The sweep's folder; what stands in it already belongs to an earlier life of the sweep.
    given : sequence of str
        The overrides of the command line; those that a job has letter for letter are not what it varies.
    total : callable
        Returns the number of jobs, or None as long as that is not known.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        given: Sequence[str] = (),
        total: Callable[[], int | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.given = frozenset(given)
        self.clock = clock
        self.started = clock()
        self._total = total
        self._watches: dict[Path, _Watch] = {}
        self._scan(earlier=True)
        for watch in self._watches.values():
            watch.job.before = watch.job.has_ended

    @property
    def jobs(self) -> list[LiveJob]:
        """The jobs that have a folder, in the order of their numbers."""
        return sorted((watch.job for watch in self._watches.values()), key=lambda job: job.number)

    @property
    def total(self) -> int | None:
        """How many jobs there will be, where that is known; never fewer than there are."""
        total = self._total()
        return None if total is None else max(total, len(self._watches))

    def poll(self) -> list[LiveJob]:
        """Read what is new; return the jobs that have ended since the last time, first ended first."""
        self._scan()
        ended = []
        for watch in self._watches.values():
            if watch.look(self.clock()):
                ended.append(watch)
        return [watch.job for watch in sorted(ended, key=lambda watch: watch.ended_at)]

    def left(self, now: float) -> float | None:
        """Return the seconds that the sweep will still take at the pace so far."""
        total = self.total
        done = sum(job.done for job in self.jobs if not job.before)
        if total is None or not done:
            return None
        before = sum(job.before for job in self.jobs)
        return (now - self.started) / done * (total - before - done)

    def _scan(self, earlier: bool = False) -> None:
        """Find the jobs' folders that are new."""
        for path in list(_job_folders(self.folder, self._watches)):
            number = _NUMBER.match(path.name)
            job = LiveJob(int(number[1]) if number else len(self._watches), path)
            self._watches[path] = _Watch(job, self.given, self.clock(), earlier)


class _Watch:
    """What is remembered of a job's folder between two looks."""

    def __init__(self, job: LiveJob, given: frozenset[str], now: float, earlier: bool) -> None:
        self.job = job
        self.ended_at = 0
        self._given = given
        self._overrides = job.folder / ".hydra" / "overrides.yaml"
        self._summary = job.folder / "summary.json"
        self._metrics = job.folder / "metrics.jsonl"
        self._size = 0
        self._newest_sign = now
        # Files as an earlier life of the job left them say nothing about this one.
        self._began = _changed(self._overrides) if earlier else None
        self._ended_earlier = _changed(self._summary) if earlier else None
        if self._ended_earlier is not None and (read := Job.read(job.folder)).status in FINISHED:
            self._end(read, now)

    def look(self, now: float) -> bool:
        """Read what is new; return whether the job has ended since the last look."""
        job = self.job
        if job.state in FINISHED and _changed(self._summary) == self._ended_earlier:
            # It is launched again when its sweep goes on, and finds nothing left to do.
            return False
        if job.state == WAITING or job.has_ended:
            began = _changed(self._overrides)
            if began in (None, self._began):
                return False
            self._begin(began, now)
        if job.epochs is None:
            self._describe()
        self._read_records(now)
        changed = _changed(self._summary)
        if changed in (None, self._ended_earlier) and not self._is_given_up(now):
            return False
        return changed is not None and self._take_summary(changed, now)

    def _begin(self, began: int | None, now: float) -> None:
        """Note that the job works, perhaps once more: a member of a population is trained in slices."""
        self._began, self._newest_sign = began, now
        self.job.state, self.job.ended, self.job.took, self.job.before = RUNNING, None, None, False

    def _describe(self) -> None:
        """Read what the job is: its part of the search space, its length."""
        job, read = self.job, Job.read(self.job.folder)
        job.epochs = read.planned_epochs
        if job.epochs is not None:
            job.overrides = tuple(each for each in read.given if each not in self._given)
            job.monitor, job.mode = read.monitor, read.mode

    def _read_records(self, now: float) -> None:
        job = self.job
        try:
            size = self._metrics.stat().st_size
            if size == self._size:
                return
            with self._metrics.open("rb") as file:
                if size < self._size:
                    self._forget()
                file.seek(self._size)
                content = file.read(size - self._size)
        except OSError:
            return
        self._newest_sign = job._record_at = now
        whole = content[: content.rfind(b"\n") + 1]
        try:
            for line in whole.splitlines():
                self._take(json.loads(line))
            self._size += len(whole)
        except (ValueError, TypeError, AttributeError, RecursionError):
            # The run went back and took other records meanwhile: all are read again at the next look.
            self._forget()

    def _take(self, record: dict[str, Any]) -> None:
        job = self.job
        job.epoch = int(record.get("epoch") or job.epoch)
        job.seconds = float(record.get("seconds") or job.seconds)
        if job.monitor not in record and "train/loss" in record:
            job.monitor, job.mode = "train/loss", "min"  # as a run without a validation part has it
        value = record.get(job.monitor)
        if improves(value, job.best, job.mode):
            job.best = value

    def _forget(self) -> None:
        self._size, self.job.epoch, self.job.best = 0, 0, None

    def _take_summary(self, changed: int, now: float) -> bool:
        read = Job.read(self.job.folder)
        status = read.summary.get("status")
        if not isinstance(status, str):
            return False
        # A job that has its summary may hold its lock for a moment more.
        self._end(replace(read, status=status), now)
        self.ended_at = self._ended_earlier = changed
        return True

    def _end(self, read: Job, now: float) -> None:
        job = self.job
        if job.epochs is None:
            self._describe()
        job.state, job.ended = read.status, now
        job.best = read.best.get(job.monitor, job.best)
        job.epoch = read.epochs or job.epoch
        job.took = sum(float(read.summary.get(key) or 0) for key in ("compile_seconds", "train_seconds"))
        job.error = read.error if read.status not in ("interrupted", *FINISHED) else ""

    def _is_given_up(self, now: float) -> bool:
        """Return whether no process works on the folder; asked after a silence, since it opens a file."""
        job = self.job
        if self._newest_sign == now:
            job.state = RUNNING
        elif now - self._newest_sign >= SILENCE:
            self._newest_sign = now
            with contextlib.suppress(RunError):
                job.state = KILLED if (job.folder / ".lock").exists() and not is_held(job.folder) else RUNNING
        return job.state == KILLED


def _job_folders(folder: Path, known: Collection[Path], depth: int = 1) -> Iterator[Path]:
    """Yield the folders of jobs that are not known yet; Hydra makes a folder before it writes into it."""
    try:
        entries = [entry for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for entry in entries:
        path = folder / entry.name
        if path in known or entry.name.startswith("."):
            continue
        if (path / ".hydra").is_dir():
            yield path
        elif depth < _DEEPEST:
            yield from _job_folders(path, known, depth + 1)


def _changed(path: Path) -> int | None:
    """Return when a file was last changed; None where it is not there."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
