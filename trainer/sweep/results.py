"""What the jobs of a sweep come to: what was varied, which is the best, and what the seeds make of it."""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.errors import UsageError, nearest
from trainer.loggers.wording import CLOCKWORK, HYPERPARAMETER, near
from trainer.sweep.jobs import Job, read_jobs

MODES = ("min", "max")

# Metrics of which more is better, by the last word of their names.
_GROWING = ("accuracy", "r2", "precision", "recall", "f1", "auc")
# What differs between runs for other reasons than what they learn.
_INCIDENTAL = ("resume", "task", "allowed_targets", "logger.", "device.", "sweep.", "hydra.")


@dataclass(frozen=True)
class Group:
    """Jobs that are equal but for their seeds.

    Attributes
    ----------
    jobs : sequence of Job
        Those of them that have a value, in the order of their numbers.
    mean : float
        Of the metric's values.
    spread : float or None
        Their standard deviation (of a sample, n - 1); None for a single one.
    least, greatest : float
        Among the values.
    """

    jobs: Sequence[Job]
    mean: float
    spread: float | None
    least: float
    greatest: float


@dataclass(frozen=True)
class Results:
    """Jobs, and the metric by which they are compared.

    Attributes
    ----------
    folder : Path or None
        The sweep's folder; None for runs that were put beside each other.
    jobs : sequence of Job
        In the order of their numbers.
    metric : str
        A key of the records, as `validation/accuracy`; each job counts by its value in its best epoch.
    mode : str
        `max` where a greater value is better, else `min`.
    """

    folder: Path | None
    jobs: Sequence[Job]
    metric: str
    mode: str

    @classmethod
    def of_sweep(cls, folder: Path, metric: str | None = None, mode: str | None = None) -> Results:
        """Read a sweep's folder; what it monitored is the metric, unless another is given.

        Raises
        ------
        UsageError
            There are no jobs in the folder, or none has measured the metric.
        """
        jobs = read_jobs(folder)
        if not jobs:
            raise UsageError(f"{folder} has no jobs in it: name the folder of a run or of a multirun")
        return cls(folder, jobs, *chosen(jobs, metric, mode))

    @classmethod
    def of_runs(cls, folders: Sequence[Path], metric: str | None = None, mode: str | None = None) -> Results:
        """Put runs beside each other, in the order given.

        Raises
        ------
        UsageError
            None of them has measured the metric.
        """
        jobs = [Job.read(folder) for folder in folders]
        return cls(None, jobs, *chosen(jobs, metric, mode))

    def name(self, job: Job) -> str:
        """Return a job's short name: its number in its sweep; of runs, what tells their folders apart."""
        if self.folder is not None:
            return job.name if job.number is None else str(job.number)
        if len(self.jobs) == 1:
            return near(job.folder)
        shared = os.path.commonpath([each.folder.parent for each in self.jobs])
        return str(job.folder.relative_to(shared))

    def score(self, job: Job) -> float | None:
        """Return a job's value of the metric in its best epoch; None where it has none."""
        return job.best.get(self.metric)

    @cached_property
    def ranked(self) -> list[Job]:
        """The jobs, the best first, those without a value last; equals stay in their order."""
        return sorted(self.jobs, key=lambda job: self._rank(self.score(job)))

    @property
    def best(self) -> Job | None:
        """The best job; None where no job has a value."""
        return self.ranked[0] if self.ranked and self.score(self.ranked[0]) is not None else None

    @cached_property
    def varied(self) -> list[str]:
        """The keys whose values are not the same in all jobs, in the order in which they were given.

        Of a sweep, keys of its overrides; of runs put beside each other, keys of their configurations.
        """
        if self.folder is None:
            return [key for key in _names(job.flat for job in self.jobs) if self._varies(key)]
        return [key for key in _names(job.overrides for job in self.jobs) if self._varies(key)]

    @property
    def seeds(self) -> list[str]:
        """Those of the varied keys that are seeds."""
        return [key for key in self.varied if key.rpartition(".")[2] == "seed"]

    @property
    def keys(self) -> list[str]:
        """Those of the varied keys that are not."""
        return [key for key in self.varied if key not in self.seeds]

    @cached_property
    def measured(self) -> list[str]:
        """The metrics of the best epochs: the one that counts first, validation before training."""
        names = [name for name in _names(job.best for job in self.jobs) if is_metric(name)]
        return sorted(names, key=lambda name: (name != self.metric, not name.startswith("validation/")))

    @cached_property
    def tested(self) -> list[str]:
        """The test part's metrics."""
        return _names(job.test for job in self.jobs)

    @cached_property
    def groups(self) -> list[Group]:
        """Jobs equal but for their seeds, best mean first; none where no settings had two seeds."""
        if not self.seeds:
            return []
        collected: dict[tuple[str, ...], list[Job]] = {}
        for job in self.jobs:
            if self.score(job) is not None:
                settings = tuple(str(job.value(key)) for key in self.keys)
                collected.setdefault(settings, []).append(job)
        if all(len(jobs) == 1 for jobs in collected.values()):
            return []
        groups = [self._group(jobs) for jobs in collected.values()]
        return sorted(groups, key=lambda group: self._rank(group.mean))

    @property
    def counts(self) -> Mapping[str, int]:
        """How many jobs have each status."""
        return Counter(job.status for job in self.jobs)

    def _group(self, jobs: Sequence[Job]) -> Group:
        values = [value for job in jobs if (value := self.score(job)) is not None]
        spread = statistics.stdev(values) if len(values) > 1 else None
        return Group(jobs, statistics.fmean(values), spread, min(values), max(values))

    def _varies(self, key: str) -> bool:
        if key.startswith(_INCIDENTAL):
            return False
        return len({str(job.value(key)) for job in self.jobs}) > 1

    def _rank(self, value: float | None) -> float:
        if value is None:
            return math.inf
        return -value if self.mode == "max" else value


def chosen(jobs: Sequence[Job], metric: str | None, mode: str | None) -> tuple[str, str]:
    """Return the metric by which jobs are compared, and its mode: those given, else what they monitored.

    Raises
    ------
    UsageError
        The metric that is given was not measured, or the mode is none.
    """
    if mode is not None and mode not in MODES:
        raise UsageError(f"--mode={mode} is not known: {nearest(mode, MODES)}")
    known = [name for name in _names(job.best for job in jobs) if is_metric(name)]
    if metric is not None and metric not in known:
        measured = nearest(metric, known) if known else "no job has measured anything yet"
        raise UsageError(f"--metric={metric} was not measured: {measured}")
    monitored = Counter((job.monitor, job.mode) for job in jobs).most_common(1)
    usual = monitored[0][0] if monitored else ("validation/loss", "min")
    if metric is None:
        # As a run does where it has no validation part.
        metric = usual[0] if usual[0] in known or "train/loss" not in known else "train/loss"
    if mode is None:
        mode = usual[1] if metric == usual[0] else usual_mode(metric)
    return metric, mode


def usual_mode(metric: str) -> str:
    """Return whether a metric is the better the greater it is (`max`) or the less (`min`), by its name.

    >>> usual_mode("validation/top_5_accuracy"), usual_mode("test/rmse")
    ('max', 'min')
    """
    return "max" if metric.endswith(_GROWING) else "min"


def is_metric(name: str) -> bool:
    """Tell whether a record's key is something measured."""
    return name not in CLOCKWORK and not name.startswith(HYPERPARAMETER)


def leading(results: Results) -> tuple[float | None, float | None]:
    """Return by how much the best job is better than the next, and than the middle of all with a value."""
    values = [value for job in results.ranked if (value := results.score(job)) is not None]
    if len(values) < 2:
        return None, None
    return abs(values[0] - values[1]), abs(values[0] - statistics.median(values))


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
