"""What a sweep by Optuna minimizes or maximizes: numbers of a run's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.errors import UsageError, nearest

_SMALL_IS_GOOD = ("loss", "seconds", "parameters", "bytes", "epochs", "steps")

RESULT = "optimization_results.yaml"  # in the sweep's folder: the objectives, and the best jobs by them


def directions_of(
    objectives: Sequence[str], directions: Sequence[str] | None, monitor: str, mode: str
) -> dict[str, str]:
    """Return `minimize` or `maximize` for each objective, as given, or where it is beyond doubt.

    Raises
    ------
    UsageError
        For names that are none, and where a direction is wrong, missing or in doubt.
    """
    if len(set(objectives)) < len(objectives) or not all(
        isinstance(name, str) and name for name in objectives
    ):
        raise UsageError(f"hydra.sweeper.objectives={list(objectives)}: give each number's name once")
    if directions is None:
        return {name: _usual(name, monitor, mode) for name in objectives}
    if len(directions) != len(objectives):
        raise UsageError(
            f"hydra.sweeper.directions={list(directions)}: give one for each of {', '.join(objectives)}"
        )
    for direction in directions:
        if direction not in ("minimize", "maximize"):
            allowed = nearest(str(direction), ("minimize", "maximize"))
            raise UsageError(f"hydra.sweeper.directions: {direction} is not known: {allowed}")
    return dict(zip(objectives, directions, strict=True))


def value_of(summary: Mapping[str, Any], name: str, folder: Path) -> float | None:
    """Return a number of a run: of its best epoch, of the test part, or of the run as a whole.

    Raises
    ------
    UsageError
        Where runs have no number of that name.
    """
    numbers = {
        **{key: value for key, value in summary.items() if _is_number(value)},
        **{f"test/{key}": value for key, value in (summary.get("test") or {}).items() if _is_number(value)},
        **(summary.get("best") or {}),
    }
    if name not in numbers:
        raise UsageError(
            f"hydra.sweeper.objectives: {name} is no number of {folder / 'summary.json'}: "
            f"{nearest(name, numbers)}"
        )
    value = numbers[name]
    return float(value) if _is_number(value) else None


def _usual(name: str, monitor: str, mode: str) -> str:
    if name == monitor:
        return "maximize" if mode == "max" else "minimize"
    if name.endswith(_SMALL_IS_GOOD):
        return "minimize"
    raise UsageError(
        f"hydra.sweeper.objectives: nothing says whether {name} is to be small or large: give "
        "hydra.sweeper.directions, one for each objective, as [minimize,maximize]"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
