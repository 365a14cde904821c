"""The table of a sweep's jobs, best first, when all of them are done."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.box import SIMPLE_HEAD
from rich.table import Table

from trainer.loggers.screen import screen
from trainer.loggers.wording import show, spoken


@dataclass(frozen=True)
class Job:
    """A job of a sweep, as its folder tells it: the record of its best epoch, and the test metrics."""

    name: str
    overrides: Mapping[str, str]
    status: str
    best: Mapping[str, Any]
    test: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read a job's folder; one without a summary counts as failed."""
        overrides = OmegaConf.load(folder / ".hydra" / "overrides.yaml")
        path = folder / "summary.json"
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return cls(
            name=folder.name,
            overrides=dict(str(override).lstrip("+").partition("=")[::2] for override in overrides),
            status=summary.get("status", "failed"),
            best=summary.get("best", {}),
            test={name: value for name, value in summary.get("test", {}).items() if isinstance(value, float)},
        )


class Leaderboard(Callback):
    """Hydra calls this at a multirun's end; it prints the jobs by their best monitored metric."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table of the jobs in the sweep's folder."""
        folder = Path(config.hydra.sweep.dir)
        jobs = [Job.read(path.parent.parent) for path in folder.glob("*/.hydra/overrides.yaml")]
        if jobs:
            screen().print(leaderboard(jobs, config.training.monitor, config.training.mode))
            screen().print(f"The sweep is in {folder}")


def leaderboard(jobs: Sequence[Job], monitor: str, mode: str) -> Table:
    """Return the table of the jobs, the best by `monitor` first, those without a value last.

    There is a column for each key that the jobs do not all share, and for each metric that one of them has.
    """
    ranked = sorted(jobs, key=lambda job: _rank(job.best.get(monitor), mode))
    varied = [key for key in _names(job.overrides for job in jobs) if _varies(key, jobs)]
    validated = [name for name in _names(job.best for job in jobs) if name.startswith("validation/")]
    measured = list(dict.fromkeys([monitor, *validated]))
    tested = _names(job.test for job in jobs)
    statuses = ["status"] if any(job.status != "completed" for job in jobs) else []
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=f"{len(jobs)} jobs by {spoken(monitor)}")
    table.title_justify = "left"
    table.add_column("job", justify="right")
    for key in varied + statuses:
        table.add_column(spoken(key.rpartition(".")[2]), overflow="fold")
    for name in ("epoch", *map(spoken, measured), *(f"test {spoken(name)}" for name in tested)):
        table.add_column(name, justify="right")
    for job in ranked:
        numbers = [show(name, job.best[name]) if name in job.best else "" for name in measured]
        numbers += [show(name, job.test[name]) if name in job.test else "" for name in tested]
        values = [job.overrides.get(key, "") for key in varied] + [job.status] * len(statuses)
        table.add_row(job.name, *values, str(job.best.get("epoch", "")), *numbers)
    return table


def _varies(key: str, jobs: Sequence[Job]) -> bool:
    return len({job.overrides.get(key) for job in jobs}) > 1


def _names(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _rank(value: float | None, mode: str) -> float:
    if value is None:
        return math.inf
    return -value if mode == "max" else value
