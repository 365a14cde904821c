"""Schedules, against values worked by hand."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from typing import Any

import pytest

from trainer import schedules

HALF_ROOT = math.sqrt(0.5)

VALUES: dict[str, tuple[schedules.Schedule, dict[float, float]]] = {
    "constant": (schedules.constant(0.3), {0: 0.3, 0.5: 0.3, 1e9: 0.3}),
    "linear": (schedules.linear(1.0, 3.0, 10), {0: 1.0, 2.5: 1.5, 10: 3.0, 11: 3.0}),
    "linear, down": (schedules.linear(0.1, final=0.0, duration=0.5), {0: 0.1, 0.25: 0.05, 0.5: 0.0, 1: 0.0}),
    "step": (schedules.step(5.0, every=30), {0: 5.0, 29.99: 5.0, 30: 0.5, 59.99: 0.5, 60: 0.05}),
    "step, other factor": (schedules.step(1.0, every=0.25, factor=0.5), {0.24: 1.0, 0.25: 0.5, 1.0: 0.0625}),
    "exponential": (schedules.exponential(2.0, factor=0.01), {0: 2.0, 0.5: 0.2, 1: 0.02, 2: 0.0002}),
    "exponential, wide": (schedules.exponential(1.0, factor=0.5, every=10), {5: HALF_ROOT, 10: 0.5}),
    "cosine": (
        schedules.cosine(1.0),
        {0: 1.0, 0.25: 0.5 + HALF_ROOT / 2, 0.5: 0.5, 0.75: 0.5 - HALF_ROOT / 2, 1: 0.0, 2: 0.0},
    ),
    "cosine, to a value": (
        schedules.cosine(0.9, final=0.1, duration=40),
        {0: 0.9, 20: 0.5, 40: 0.1, 99: 0.1},
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    schedule, values = VALUES[name]
    for time, value in values.items():
        assert schedule(time) == pytest.approx(value, rel=1e-12, abs=1e-15)


def test_a_step_comes_when_it_is_due_though_time_is_a_quotient() -> None:
    schedule = schedules.step(1.0, every=0.1, factor=0.5)
    assert [schedule(tenth / 10) for tenth in range(10)] == [0.5**tenth for tenth in range(10)]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda bad: schedules.linear(1.0, 0.0, duration=bad), "duration"),
        (lambda bad: schedules.cosine(1.0, duration=bad), "duration"),
        (lambda bad: schedules.step(1.0, every=bad), "every"),
        (lambda bad: schedules.step(1.0, every=1, factor=bad), "factor"),
        (lambda bad: schedules.exponential(1.0, factor=bad), "factor"),
        (lambda bad: schedules.exponential(1.0, factor=0.5, every=bad), "every"),
    ],
)
@pytest.mark.parametrize("bad", [0, -1.0, math.nan])
def test_impossible_arguments_are_refused(make: Callable[[float], Any], name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be above 0; it is {bad}$"):
        make(bad)


def test_documented_examples_run() -> None:
    result = doctest.testmod(schedules)
    assert result.attempted >= 10
    assert result.failed == 0
