"""The Pareto front of a search for several objectives: what no other job is better than in all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.checked_yaml import read_plain
from trainer.errors import UsageError
from trainer.loggers.wording import spoken
from trainer.sweep.jobs import Job
from trainer.sweep.optuna_objectives import RESULT, value_of
from trainer.sweep.results import Results

_ENDED = ("completed", "stopped_early")


def front_of(results: Results) -> dict[str, Any] | None:
    """Return the front of a sweep's jobs; None where the search had a single objective, or no job has ended.

    Returns
    -------
    dict
        The objectives' `names`, `labels` and whether each `grows` (is better when greater); the `values` of
        each job, None for one without; and `jobs`, the places of those on the front, by the first objective.
    """
    objectives = read_objectives(results.folder) if results.folder else {}
    if len(objectives) < 2:
        return None
    values = [_values(job, objectives) for job in results.jobs]
    grows = [direction == "maximize" for direction in objectives.values()]
    downward = [
        None if of is None else [-value if up else value for value, up in zip(of, grows, strict=True)]
        for of in values
    ]
    known = {place: costs for place, costs in enumerate(downward) if costs is not None}
    front = [
        place for place, costs in known.items() if not any(_beats(other, costs) for other in known.values())
    ]
    return (
        {
            "names": list(objectives),
            "labels": [spoken(name) for name in objectives],
            "grows": grows,
            "values": values,
            "jobs": sorted(front, key=lambda place: known[place]),
        }
        if front
        else None
    )


def read_objectives(folder: Path) -> Mapping[str, str]:
    """Read what a search wants to be small or large, by name; empty where the folder does not say."""
    try:
        objectives = read_plain(folder / RESULT)["objectives"]
        return {str(name): str(direction) for name, direction in objectives.items()}
    except (UsageError, OSError, KeyError, TypeError, AttributeError):
        return {}


def _values(job: Job, objectives: Mapping[str, str]) -> list[float] | None:
    if job.status not in _ENDED:
        return None
    try:
        values = [value_of(job.summary, name, job.folder) for name in objectives]
    except UsageError:
        return None
    found = [value for value in values if value is not None and math.isfinite(value)]
    return found if len(found) == len(objectives) else None


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether costs are nowhere higher than others, and somewhere lower."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and list(one) != list(other)
