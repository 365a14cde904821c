"""Which job of a sweep is the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.loggers.base import improves
from trainer.sweep.begun import SUMMARY, read_summary

# By file and its date: a sweep of a thousand would else read a thousand files at the end of each job.
_known: dict[tuple[Path, int], float | None] = {}


def best_value(summary: Mapping[str, Any], monitor: str) -> float | None:
    """Return the best value of the monitored metric; of `train/loss` where there is no validation part."""
    best = summary.get("best") or {}
    value = best.get(monitor, best.get("train/loss"))
    return value if isinstance(value, (int, float)) else None


def leads(folder: Path, summary: Mapping[str, Any], monitor: str, mode: str) -> bool:
    """Return whether no job of the sweep that has ended is better than this one.

    Parameters
    ----------
    folder : Path
        The job's.
    summary : mapping
        Its summary. Where it has no value, nothing is known to be better.
    monitor, mode : str
        The metric that decides, by its least value (`min`) or its greatest (`max`).
    """
    own = best_value(summary, monitor)
    if own is None:
        return True
    others = (each for each in folder.parent.iterdir() if each != folder)
    return not any(improves(_value(each, monitor), own, mode) for each in others)


def _value(folder: Path, monitor: str) -> float | None:
    try:
        key = (folder, (folder / SUMMARY).stat().st_mtime_ns)
    except OSError:
        return None
    if key not in _known:
        _known[key] = best_value(read_summary(folder), monitor)
    return _known[key]
