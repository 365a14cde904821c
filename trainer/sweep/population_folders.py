"""The folders of a population's members: their scores, and how one takes over the state of another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from trainer.checkpoints.files import take_along
from trainer.errors import RunError, UsageError
from trainer.folder_lock import RunLock
from trainer.loggers.atomic import clear_leftovers, flush_folder, write_atomically, write_durably
from trainer.loggers.json_lines import read_records

# Written last of all when a state was taken over: what it says is done.
MARK = "taken_over.json"
_INCOMING, _OUTGOING = ".incoming", ".outgoing"
_CHECKPOINTS, _METRICS = "checkpoints", "metrics.jsonl"
# What loggers write of the records in the folder: they do so anew where it is missing.
_OF_RECORDS = ("metrics.csv", "events.out.tfevents.*")
_FAILED = ("failed", "diverged")


def member_folder(sweep: Path, number: int) -> Path:
    """Return a member's folder, the same in all generations."""
    return sweep / f"{number}_member"


def failure(folder: Path) -> tuple[str, int]:
    """Return why a member failed, and with which status a run of its own would have ended."""
    summary = _summary(folder)
    return str(summary.get("error") or summary.get("status", "it was not begun")), summary.get(
        "exit_status", 1
    )


def score(folder: Path, monitor: str, epoch: int) -> float | None:
    """Return the monitored metric of a member's last epoch; None where it failed or diverged.

    Parameters
    ----------
    folder : Path
        The member's.
    monitor : str
        The metric.
    epoch : int
        With which the generation ends.

    Raises
    ------
    RunError
        Where something stopped the member before that epoch, and where the last epoch's record lacks the
        metric, as that of a run without a validation part does.
    """
    summary = _summary(folder)
    is_short = summary.get("status") == "interrupted" and summary.get("epochs", 0) < epoch
    if summary.get("status", "failed") in _FAILED or (is_short and "error" in summary):
        return None
    if is_short:
        raise RunError(
            f"{folder} was stopped before the end of epoch {epoch}: go on by trainer --multirun "
            f"sweep.resume={folder.parent}"
        )
    try:
        records = read_records(folder / _METRICS)
    except UsageError as error:
        raise RunError(str(error)) from error
    if not records:
        return None
    if monitor not in records[-1]:
        raise RunError(
            f"{folder / _METRICS} has no {monitor}, by which a population selects: give its jobs a "
            "validation part, or another training.monitor"
        )
    value: float | None = records[-1][monitor]
    return value


def take_over(child: Path, parent: Path, generation: int, parent_number: int) -> None:
    """Give a member the state, the best weights and the records of another.

    A process that is killed meanwhile leaves the parent as it was, and the child to be given it all again:
    until the mark of the generation stands in the child's folder. Neither may train before that.

    Parameters
    ----------
    child, parent : Path
        The members' folders.
    generation : int
        The number of the generation that begins with it.
    parent_number : int
        For the mark.

    Raises
    ------
    UsageError
        Where a process works on one of the folders.
    RunError
        Where the files cannot be copied; the parent's still stand.
    """
    child.mkdir(exist_ok=True)
    with RunLock(child), RunLock(parent):
        if _mark(child).get("generation") == generation:
            return
        try:
            _take_over(child, parent)
            mark = {"generation": generation, "parent": parent_number}
            write_atomically(child / MARK, json.dumps(mark).encode() + b"\n")
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"{child} cannot take over the state of {parent} ({reason}): make room") from error


def _take_over(child: Path, parent: Path) -> None:
    incoming, outgoing = child / _INCOMING, child / _OUTGOING
    for leftover in (incoming, outgoing):
        shutil.rmtree(leftover, ignore_errors=True)
    clear_leftovers(child)
    incoming.mkdir()
    _link(parent / _CHECKPOINTS, incoming / _CHECKPOINTS)
    # The loggers append to it: a second name of the same file would not do.
    with (parent / _METRICS).open("rb") as records:
        write_durably(incoming / _METRICS, lambda file: shutil.copyfileobj(records, file))
    # What is told of a member's end and of its epochs is not so any longer.
    for path in [child / "summary.json", *(each for form in _OF_RECORDS for each in child.glob(form))]:
        path.unlink(missing_ok=True)
    if (child / _CHECKPOINTS).exists():
        (child / _CHECKPOINTS).rename(outgoing)
    (incoming / _CHECKPOINTS).rename(child / _CHECKPOINTS)
    (incoming / _METRICS).replace(child / _METRICS)
    flush_folder(child)
    shutil.rmtree(outgoing, ignore_errors=True)
    shutil.rmtree(incoming, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Give a folder's files second names: whoever writes them anew puts a new file in their place."""
    target.mkdir()
    for path in source.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            _link(path, target / path.name)
        else:
            take_along(path, target / path.name)
    flush_folder(target)


def _mark(folder: Path) -> dict[str, Any]:
    return _read_object(folder / MARK)


def _summary(folder: Path) -> dict[str, Any]:
    return _read_object(folder / "summary.json")


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
