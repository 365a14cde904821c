"""The state of schedules that follow a metric, through the schedules around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._common import Schedule

State = dict[str, Any]


def sees_all_times(schedule: Schedule) -> bool:
    """Return whether a schedule is called with the step, the epoch and the progress of the run."""
    return getattr(schedule, "times", None) == "all"


def observe(schedule: Schedule, record: Mapping[str, Any], monitor: str, mode: str) -> None:
    """Show a schedule an epoch's record, if it wants to see it."""
    if hasattr(schedule, "observe"):
        schedule.observe(record, monitor, mode)


def state_of(schedule: Schedule) -> State:
    """Return a schedule's state; empty where it has none."""
    return dict(schedule.state()) if hasattr(schedule, "state") else {}


def restore(schedule: Schedule, state: Mapping[str, Any]) -> None:
    """Restore a state, unless it is that of another kind of schedule."""
    if state and hasattr(schedule, "load_state") and _alike(state, state_of(schedule)):
        schedule.load_state(state)


def metrics_of(schedule: Schedule) -> list[str]:
    """Return the names of the metrics that a schedule follows besides the monitored one."""
    return list(getattr(schedule, "metrics", ()))


def _alike(saved: Any, own: Any) -> bool:
    if isinstance(own, Mapping):
        return (
            isinstance(saved, Mapping)
            and set(saved) == set(own)
            and all(_alike(saved[name], own[name]) for name in own)
        )
    if isinstance(own, (list, tuple)):
        return isinstance(saved, list) and len(saved) == len(own) and all(map(_alike, saved, own))
    return saved is None or own is None or _kind(saved) is _kind(own)


def _kind(value: Any) -> type:
    return float if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value)
