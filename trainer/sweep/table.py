"""`sweep.csv`: a row for each job of a sweep."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from trainer.loggers.atomic import write_atomically
from trainer.sweep.jobs import Job
from trainer.sweep.results import Results

TIMES = ("train_seconds", "compile_seconds")


def write_table(results: Results, path: Path) -> None:
    """Write `sweep.csv`, in the order of the jobs' numbers, whole or not at all.

    The columns are `number`, `name`, `status`, what was varied, the seeds, `epochs`, `steps`, `best_epoch`,
    the metrics of the best epoch as `best/...`, those of the test part as `test/...`, and last the times,
    which alone differ from one machine to another. A cell is empty where the job has no such value. Numbers
    have all their digits.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(results))
    writer.writerows(_row(results, job) for job in results.jobs)
    write_atomically(path, text.getvalue().encode())


def columns(results: Results) -> list[str]:
    """Return the heading of each column."""
    return [
        *("number", "name", "status"),
        *results.keys,
        *_seeds(results),
        *("epochs", "steps", "best_epoch"),
        *(f"best/{name}" for name in results.measured),
        *(f"test/{name}" for name in results.tested),
        *TIMES,
    ]


def _row(results: Results, job: Job) -> list[Any]:
    return [
        *(job.number, job.name, job.status),
        *(job.value(key) for key in results.keys),
        *(job.value(key) for key in _seeds(results)),
        *(job.epochs, job.steps, job.best.get("epoch")),
        *(job.best.get(name) for name in results.measured),
        *(job.test.get(name) for name in results.tested),
        *(job.seconds, job.summary.get("compile_seconds")),
    ]


def _seeds(results: Results) -> list[str]:
    return list(dict.fromkeys(["training.seed", *results.seeds]))
