"""What all schedules share: their type, the checks of their arguments, and how a due moment is told."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

Schedule: TypeAlias = Callable[..., float]

UNITS = ("step", "epoch", "run")

# Time comes as a quotient, and 0.3 / 0.1 is a hair below 3: a change that is due must not wait a step.
HAIR = 1e-9


def whole(quotient: float) -> int:
    """Return how many spans of time have passed."""
    return math.floor(quotient + HAIR)


def due(moment: float) -> float:
    """Return the time from which on a moment counts as reached."""
    return moment * (1.0 - HAIR)


def check_positive(**arguments: float) -> None:
    """Refuse a number that is not above 0 and finite."""
    for name, value in arguments.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0 and finite; it is {value}")


def check_not_negative(**arguments: float) -> None:
    """Refuse a number that is below 0 or not finite."""
    for name, value in arguments.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} must be at least 0 and finite; it is {value}")


def check_finite(**arguments: float) -> None:
    """Refuse a number that is not finite."""
    for name, value in arguments.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite; it is {value}")


def check_choice(name: str, value: str | None, allowed: Iterable[str]) -> None:
    """Refuse a word that is none of those allowed."""
    choices = list(allowed)
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}; it is {value}")


def check_growing(name: str, values: Iterable[float]) -> None:
    """Refuse times that are negative, not finite, or not each later than the one before."""
    before = -math.inf
    for value in values:
        if not 0 <= value < math.inf or value <= before:
            raise ValueError(f"{name} must grow from 0 or later, each above the one before; there is {value}")
        before = value


def between(first: float, last: float, done: float, shape: str = "linear") -> float:
    """Return the value on the way from one to another: on a line, or on half a wave of a cosine."""
    part = done if shape == "linear" else 0.5 * (1.0 - math.cos(math.pi * done))
    return (1.0 - part) * first + part * last
