"""The jobs of a sweep, and single runs, as their folders tell them: whole, running, killed or damaged."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.checked_yaml import read_plain
from trainer.errors import RunError, UsageError
from trainer.folder_lock import is_held
from trainer.loggers.base import improves
from trainer.sweep.job_files import (
    config_folder,
    leaves,
    log_lines,
    parse_object,
    read_object,
    read_overrides,
)

FINISHED = ("completed", "stopped_early")
BROKEN = ("failed", "diverged", "interrupted", "missing")
STATUSES = ("completed", "stopped_early", "pruned", "interrupted", "diverged", "failed", "running", "missing")

_LEFT_BY_RUNS = ("metrics.jsonl", "summary.json", "checkpoints", "train.log")
_NUMBERED = re.compile(r"(\d+)(?:_.*)?", re.DOTALL)
_DEEPEST_SEARCH = 3
_MISSING: Any = object()


@dataclass(frozen=True)
class Job:
    """A job of a sweep, or a run, as its folder tells it.

    Nothing that is read can run code, and nothing that is damaged stops the reading: what cannot be read is
    empty. What costs time to read (configuration, history) is read when it is asked for, once.

    Attributes
    ----------
    folder : Path
        The job's folder.
    number : int or None
        What the folder's name begins with; None for a run outside of a sweep.
    given : tuple of str
        The overrides, as they were given.
    status : str
        `completed`, `stopped_early`, `pruned` (given up by a sweeper), `interrupted` (killed, too),
        `diverged`, `failed`, `running` (a process holds the folder's lock) or `missing` (nothing has been run
        there).
    summary : mapping
        The content of `summary.json`; empty where there is none.
    """

    folder: Path
    number: int | None
    given: tuple[str, ...]
    status: str
    summary: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Job:
        """Read a job's folder, which may be damaged or not be there."""
        match = _NUMBERED.fullmatch(folder.name)
        summary = read_object(folder / "summary.json")
        return cls(
            folder=folder,
            number=int(match.group(1)) if match and len(match.group(1)) < 10 else None,
            given=tuple(read_overrides(folder)),
            status=_status(folder, summary),
            summary=summary,
        )

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name or str(self.folder)

    @cached_property
    def overrides(self) -> dict[str, str]:
        """What the overrides set, by key, without Hydra's signs."""
        pairs = (given.lstrip("+").partition("=") for given in self.given)
        return {key: value for key, _, value in pairs}

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """The composed configuration; what it interpolates is not resolved."""
        with contextlib.suppress(UsageError):
            content = read_plain(self.folder / ".hydra" / "config.yaml")
            if isinstance(content, dict):
                return content
        return {}

    @cached_property
    def flat(self) -> dict[str, Any]:
        """The configuration's values by their dotted keys; lists are values."""
        return dict(leaves(self.configuration))

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The records of `metrics.jsonl`, None for a number that was not finite; no damaged lines."""
        try:
            lines = (self.folder / "metrics.jsonl").read_bytes().split(b"\n")
        except OSError:
            return []
        return [record for record in map(parse_object, lines) if record]

    @property
    def monitor(self) -> str:
        """The metric that decides which epoch is the best."""
        return str(self._training("monitor", "validation/loss"))

    @property
    def mode(self) -> str:
        """`max` where a greater value of it is better, else `min`."""
        return "max" if self._training("mode", "min") == "max" else "min"

    @cached_property
    def best(self) -> dict[str, float]:
        """The numbers of the best epoch's record, of those so far where the run goes on; only finite ones."""
        noted = self.summary.get("best")
        if isinstance(noted, dict) and noted:
            return _numbers(noted)
        best: dict[str, Any] = {}
        for record in self.history:
            if improves(_number(record.get(self.monitor)), _number(best.get(self.monitor)), self.mode):
                best = record
        return _numbers(best)

    @cached_property
    def test(self) -> dict[str, float]:
        """The finite numbers among the test part's metrics."""
        noted = self.summary.get("test")
        return _numbers(noted) if isinstance(noted, dict) else {}

    @property
    def epochs(self) -> int | None:
        """How many epochs are done."""
        return self._counted("epochs", "epoch")

    @property
    def steps(self) -> int | None:
        """How many updates are done."""
        return self._counted("steps", "step")

    @property
    def planned_epochs(self) -> int | None:
        """How many epochs the configuration asks for."""
        return _whole(self._training("epochs", None))

    @property
    def seed(self) -> int | None:
        """The configured seed."""
        return _whole(self._training("seed", None))

    @cached_property
    def seconds(self) -> float | None:
        """Wall-clock seconds of training so far, evaluations included."""
        noted = _number(self.summary.get("train_seconds"))
        if noted is not None:
            return noted
        return _number(self.history[-1].get("seconds")) if self.history else None

    @cached_property
    def error(self) -> str:
        """Why the job is not done, in a line; empty where it is, or is being run."""
        if self.status not in BROKEN:
            return ""
        noted = self.summary.get("error")
        if isinstance(noted, str) and noted.strip():
            return noted.strip().splitlines()[0]
        if self.status == "missing":
            return "has not been run"
        levels = ("ERROR", "CRITICAL") if self.status == "failed" else ("ERROR", "CRITICAL", "WARNING")
        told = [text for level, text in log_lines(self.folder) if level in levels]
        if told:
            return told[-1]
        return "stopped before its end" if self.status == "interrupted" else "no reason is in its train.log"

    @cached_property
    def command(self) -> str:
        """The command that runs the same again, ready for a shell."""
        given = [each for each in self.given if not each.startswith(("sweep.resume=", "resume="))]
        return shlex.join(["trainer", *config_folder(self.folder), *given])

    def value(self, key: str) -> Any:
        """Return what the job has for a key: a number, text, or None where it has no such key.

        A key of the configuration has its composed value, a choice of a group the name that was given.
        """
        configured = self.flat.get(key, _MISSING)
        if configured is _MISSING or isinstance(configured, (list, dict)):
            given = self.overrides.get(key)
            if given is None:
                return None if configured is _MISSING else _text(configured)
            return as_number(given)
        number = _number(configured)
        return as_number(_text(configured)) if number is None else number

    def _training(self, key: str, otherwise: Any) -> Any:
        node = self.configuration.get("training")
        return node.get(key, otherwise) if isinstance(node, dict) else otherwise

    def _counted(self, noted: str, recorded: str) -> int | None:
        count = _whole(self.summary.get(noted))
        if count is None and self.history:
            count = _whole(self.history[-1].get(recorded))
        return count


def is_run(folder: Path) -> bool:
    """Tell whether a folder is one that a run has, or was about to have."""
    if any((folder / name).exists() for name in ("metrics.jsonl", "summary.json")):
        return True
    return (folder / ".hydra" / "config.yaml").is_file()


def is_sweep(folder: Path) -> bool:
    """Tell whether a folder is one of a multirun."""
    return any((folder / name).is_file() for name in ("multirun.yaml", "sweep.json"))


def read_jobs(folder: Path) -> list[Job]:
    """Read the jobs in a sweep's folder, in the order of their numbers.

    A folder counts as a job's where it has what a run leaves, or a name that begins with a number. In a
    sweep's folder it may lie deeper, as `hydra.sweep.subdir` can say; other sweeps are left alone.
    """
    deepest = _DEEPEST_SEARCH if is_sweep(folder) else 1
    return sorted((Job.read(path) for path in _job_folders(folder, deepest)), key=_place)


def as_number(text: str) -> Any:
    """Return what a text says as a number, where it says a finite one; else the text.

    >>> as_number("1e-2"), as_number("3"), as_number("adam"), as_number("nan")
    (0.01, 3, 'adam', 'nan')
    """
    for kind in (int, float):
        with contextlib.suppress(ValueError, OverflowError):
            number = kind(text)
            if "_" not in text and math.isfinite(number):
                return number
    return text


def _place(job: Job) -> tuple[bool, int, str]:
    return (job.number is None, job.number or 0, str(job.folder))


def _job_folders(folder: Path, deepest: int, depth: int = 1) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for child in folder.iterdir():
            if child.name.startswith(".") or child.is_symlink() or not child.is_dir() or is_sweep(child):
                continue
            if is_run(child) or any((child / name).exists() for name in _LEFT_BY_RUNS):
                yield child
                continue
            below = list(_job_folders(child, deepest, depth + 1)) if depth < deepest else []
            yield from below
            if not below and depth == 1 and _NUMBERED.fullmatch(child.name) and is_sweep(folder):
                yield child


def _status(folder: Path, summary: Mapping[str, Any]) -> str:
    noted = summary.get("status")
    if noted in (*FINISHED, "pruned"):
        return str(noted)
    with contextlib.suppress(RunError):
        if is_held(folder):
            return "running"
    if noted in STATUSES:
        return str(noted)
    if not any((folder / name).exists() for name in (".hydra", *_LEFT_BY_RUNS)):
        return "missing"
    lines = log_lines(folder)
    return "failed" if lines and lines[-1][0] in ("ERROR", "CRITICAL") else "interrupted"


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    finite = {str(key): _number(value) for key, value in record.items()}
    return {key: value for key, value in finite.items() if value is not None}


def _number(value: Any) -> float | None:
    """Return a finite number, None for all else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    with contextlib.suppress(OverflowError):
        return value if math.isfinite(value) else None
    return None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
