"""How a multirun has ended, as its jobs' folders tell: what failed, and with which status."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import UsageError
from trainer.sweep.begun import read_refusal
from trainer.sweep.jobs import FINISHED, Job, read_jobs
from trainer.sweep.manifest import Manifest

_MOST_SHOWN = 20
_LONGEST = 400


@dataclass(frozen=True)
class Trouble:
    """A job that has no good end.

    Attributes
    ----------
    name : str
        Of its folder.
    what : str
        `failed`, or another status.
    reason : str
        The first line that its person would have been told.
    status : int
        With which it would have ended as a run of its own.
    is_settled : bool
        Whether a resumption leaves it as it is, since its own values are why it has ended so.
    """

    name: str
    what: str
    reason: str
    status: int = 1
    is_settled: bool = False

    def __str__(self) -> str:
        reason = self.reason if len(self.reason) <= _LONGEST else f"{self.reason[:_LONGEST]} …"
        return f"{self.name} {self.what}{': ' if reason else ''}{reason}"


def troubles(folder: Path) -> list[Trouble]:
    """Return the jobs of a sweep that are not done, or done badly, in the order of their numbers."""
    gives_up = _gives_up_what_fails(folder)
    return [trouble for job in read_jobs(folder) if (trouble := _trouble(job, gives_up)) is not None]


def ending(folder: Path) -> tuple[str, int]:
    """Return what is to be told of a sweep whose jobs have all been launched, and the exit status.

    The status is 0 where all jobs are done, 2 where all that is wrong are mistakes of the user's, else 1.
    """
    found = troubles(folder)
    missing = _missing(folder)
    if not found and not missing:
        return "", 0
    total = len(read_jobs(folder)) + missing
    count = len(found) + missing
    lines = [f"{count} of {total} jobs {'is' if count == 1 else 'are'} not done:"]
    lines += [f"  {trouble}" for trouble in found[:_MOST_SHOWN]]
    if found[_MOST_SHOWN:]:
        lines.append(f"  and {len(found) - _MOST_SHOWN} more")
    if missing:
        lines.append(f"  {missing} not begun")
    lines.append(_what_a_resumption_runs(folder, sum(trouble.is_settled for trouble in found), count))
    statuses = [trouble.status for trouble in found] + [1] * bool(missing)
    return "\n".join(lines), 2 if set(statuses) == {2} else 1


def how_to_go_on(folder: Path) -> str:
    """Return the command by which a sweep goes on."""
    return f"trainer --multirun sweep.resume={folder}"


def _what_a_resumption_runs(folder: Path, settled: int, count: int) -> str:
    """Say which of the jobs that are not done a resumption would run."""
    if settled == count:
        it, they = ("it", "it") if count == 1 else ("them", "they")
        return f"no resumption runs {it} again, since with the same values {they} would end the same"
    but = f", but for {settled} that would end the same with the same values" if settled else ""
    return f"{how_to_go_on(folder)} runs them{but}"


def _gives_up_what_fails(folder: Path) -> bool:
    """Tell whether the sweeper is done with a job whose values cannot be run: Optuna changes no trial's."""
    with contextlib.suppress(UsageError):
        return Manifest.read(folder).sweeper == "optuna"
    return False


def _trouble(job: Job, gives_up: bool) -> Trouble | None:
    refusal = read_refusal(job.folder)
    if refusal:
        return Trouble(job.name, "refused", _line(refusal.get("error")), _status(refusal.get("exit_status")))
    if job.status in FINISHED or job.status == "pruned":
        return None
    if job.status == "running":
        return Trouble(job.name, "still works in another process", "")
    noted = job.summary.get("error")
    what = "failed" if noted and job.status == "interrupted" else job.status
    if (job.folder / "learning_rate.json").exists() and not noted:
        return None
    status = _status(job.summary.get("exit_status"))
    is_settled = what == "diverged" or (gives_up and what == "failed" and status == 2)
    return Trouble(job.name, what, job.error, status, is_settled)


def _missing(folder: Path) -> int:
    with contextlib.suppress(UsageError):
        total = Manifest.read(folder).total
        if total is not None:
            return max(0, total - len([job for job in read_jobs(folder) if job.status != "missing"]))
    return 0


def _line(text: object) -> str:
    return next(iter(str(text or "").splitlines()), "")


def _status(value: object) -> int:
    return 2 if value == 2 else 1
