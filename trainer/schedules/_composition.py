"""Schedules made of schedules: one after another, and after a warm-up."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.errors import nearest

from ._common import (
    UNITS,
    Schedule,
    between,
    check_choice,
    check_growing,
    check_not_negative,
    check_positive,
    due,
)
from .stateful import State, metrics_of, observe, restore, sees_all_times, state_of

PART_KEYS = ("schedule", "until", "fraction", "scale")


def joined(initial: float, parts: Sequence[Mapping[str, Any]]) -> Schedule:
    """Follow several schedules, one after another.

    Each part is a mapping:

    - ``schedule``: called with `initial`, it gives the part's schedule. In YAML that is a node whose
      ``_target_`` is the name of a schedule's file (``cosine``) or a function.
    - ``until``: when the part ends, counted from the beginning of the whole; the last part may leave it out
      and then goes on for ever.
    - ``fraction``, false where omitted: what the part takes for its time. If false, the time since the part
      began, in the unit of the whole: the schedules that PyTorch's ``SequentialLR`` and Optax's
      ``join_schedules`` join count so too. If true, how much of the part is done, from 0 to 1, so that a
      cosine of the duration 1 ends exactly where the part ends.
    - ``scale``, 1 where omitted: the part is made with ``scale * initial`` in place of `initial`.

    A part that follows a metric sees the epochs that end in it. After the last part's end its schedule goes
    on, at a time above 1 where it counts a fraction.

    Parameters
    ----------
    initial : float
        The configured value.
    parts : sequence of mapping
        At least one.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where a part is not as described, or the times do not grow.

    Examples
    --------
    >>> from functools import partial
    >>> from trainer.schedules import constant, linear
    >>> hold, fall = constant, partial(linear, final=0.0, duration=1)
    >>> parts = [{"schedule": hold, "until": 2}, {"schedule": fall, "until": 6, "fraction": True}]
    >>> value = joined(8.0, parts)
    >>> [value(time) for time in range(8)]
    [8.0, 8.0, 8.0, 6.0, 4.0, 2.0, 0.0, 0.0]
    """
    if not parts:
        raise ValueError(
            "parts is empty: give at least one, as in {schedule: {_target_: cosine}, until: 0.5}"
        )
    ends = [
        _end(part, f"parts[{number}]", is_last=number == len(parts) - 1) for number, part in enumerate(parts)
    ]
    check_growing("until", [end for end in ends if end < math.inf])
    begins = [0.0, *ends[:-1]]
    return _Joined(
        [
            _part(part, initial, begin, end, f"parts[{number}]")
            for number, (part, begin, end) in enumerate(zip(parts, begins, ends, strict=True))
        ]
    )


def with_warmup(
    schedule: Schedule, initial: float, warmup: float, warmup_start: float = 0.0, unit: str = "run"
) -> Schedule:
    """Put a linear ramp before a schedule.

    With s the schedule and w the warm-up's length, the value at time t < w is
    ``a + (s(0) - a) * t / w`` with ``a = warmup_start * initial``. From w on it is ``s(t - w)``, and for the
    unit `run` ``s((t - w) / (1 - w))``, so that what was to take the whole run takes what is left of it.
    The first update takes the value at time 0: with a `warmup_start` of 0 it changes nothing where it is the
    learning rate that is ramped.

    A schedule that sees the step, the epoch and the progress goes on seeing those of the run: its time is not
    moved, and the ramp leads to the value that it has then.

    Parameters
    ----------
    schedule : Schedule
        What follows.
    initial : float
        The configured value.
    warmup : float
        The length of the ramp, at least 0, in the unit; below 1 for the unit `run`.
    warmup_start : float, default 0.0
        Where the ramp begins, as a fraction of the configured value; at least 0.
    unit : {'step', 'epoch', 'run'}
        What time is counted in.

    Returns
    -------
    Schedule
        Gives the value at a time; the schedule itself where the warm-up has no length.

    Raises
    ------
    ValueError
        Where an argument is out of its range.

    Examples
    --------
    >>> from trainer.schedules import linear
    >>> value = with_warmup(linear(1.0, final=0.0, duration=4), 1.0, warmup=2, warmup_start=0.5, unit="epoch")
    >>> [value(time) for time in range(7)]
    [0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0]
    """
    check_not_negative(warmup=warmup, warmup_start=warmup_start)
    check_choice("unit", unit, UNITS)
    if unit == "run" and not warmup < 1:
        raise ValueError(f"warmup must be below 1 with the unit run, of which it is a part; it is {warmup}")
    if warmup == 0:
        return schedule
    kind = _WarmupOfAll if sees_all_times(schedule) else _Warmup
    return kind(schedule, warmup, warmup_start * initial, unit)


class _Warmup:
    """A ramp, and the schedule after it."""

    def __init__(self, schedule: Schedule, warmup: float, start: float, unit: str) -> None:
        self.schedule, self.warmup, self.start = schedule, warmup, start
        self.unit = UNITS.index(unit)
        self.left = 1.0 - warmup if unit == "run" else 1.0
        self.metrics = metrics_of(schedule)

    def __call__(self, time: float) -> float:
        if time < self.warmup:
            return between(self.start, self.schedule(0.0), time / self.warmup)
        return self.schedule((time - self.warmup) / self.left)

    def observe(self, record: Mapping[str, Any], monitor: str, mode: str) -> None:
        observe(self.schedule, record, monitor, mode)

    def state(self) -> State:
        return state_of(self.schedule)

    def load_state(self, state: Mapping[str, Any]) -> None:
        restore(self.schedule, state)


class _WarmupOfAll(_Warmup):
    """A ramp before a schedule that sees all times."""

    times = "all"

    def __call__(self, *times: float) -> float:
        value = self.schedule(*times)
        done = times[self.unit] / self.warmup
        return between(self.start, value, done) if done < 1 else value


@dataclass(frozen=True)
class _Part:
    schedule: Schedule
    begin: float
    end: float
    length: float


class _Joined:
    """Parts, of which the one that is on is called, and sees the epochs that end in it."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self.parts = parts
        self.moments = [due(part.end) for part in parts[:-1]]
        self.metrics = [metric for part in parts for metric in metrics_of(part.schedule)]
        self.current = parts[0]

    def __call__(self, time: float) -> float:
        self.current = part = self.parts[bisect_right(self.moments, time)]
        return part.schedule(max(time - part.begin, 0.0) / part.length)

    def observe(self, record: Mapping[str, Any], monitor: str, mode: str) -> None:
        observe(self.current.schedule, record, monitor, mode)

    def state(self) -> State:
        states = [state_of(part.schedule) for part in self.parts]
        return {"parts": states} if any(states) else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        for part, saved in zip(self.parts, state["parts"], strict=True):
            restore(part.schedule, saved)


def _end(part: Any, name: str, is_last: bool) -> float:
    if not isinstance(part, Mapping) or not callable(part.get("schedule")):
        raise ValueError(
            f"{name} has no schedule: give one, as in {{schedule: {{_target_: cosine}}, until: 0.5}}"
        )
    for key in part:
        if key not in PART_KEYS:
            raise ValueError(f"{name}.{key} is not a key: {nearest(str(key), PART_KEYS)}")
    end = part.get("until")
    if end is None:
        if not is_last:
            raise ValueError(f"{name}.until is missing: only the last part may go on for ever")
        if part.get("fraction"):
            raise ValueError(f"{name}.until is missing: a part whose time is a fraction must end")
        return math.inf
    return _number(end, f"{name}.until")


def _part(part: Mapping[str, Any], initial: float, begin: float, end: float, name: str) -> _Part:
    fraction = part.get("fraction", False)
    if not isinstance(fraction, bool):
        raise ValueError(f"{name}.fraction must be true or false; it is {fraction}")
    schedule = part["schedule"](initial * _number(part.get("scale", 1.0), f"{name}.scale"))
    if sees_all_times(schedule):
        raise ValueError(
            f"{name}.schedule sees the time of the whole run and cannot be a part: write one formula for all"
        )
    return _Part(schedule, begin, end, end - begin if fraction else 1.0)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{name} must be a number; it is {value}")
    check_positive(**{name: value})
    return float(value)
