"""Checks of layers' arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.errors import UsageError

Pair = tuple[int, int]


def count(value: Any, key: str) -> int:
    """Return a whole number of at least 1, or say by a UsageError that `key` needs one."""
    if not _whole(value, 1):
        raise UsageError(f"{key}={value}: give a whole number of at least 1")
    return int(value)


def share(value: Any, key: str) -> float:
    """Return a number of at least 0 and below 1, or say by a UsageError that `key` needs one."""
    if not _number(value) or not 0 <= value < 1:
        raise UsageError(f"{key}={value}: give a number of at least 0 and below 1")
    return float(value)


def not_negative(value: Any, key: str) -> float:
    """Return a finite number of at least 0, or say by a UsageError that `key` needs one."""
    if not _number(value) or not 0 <= value < math.inf:
        raise UsageError(f"{key}={value}: give a number of at least 0")
    return float(value)


def positive(value: Any, key: str) -> float:
    """Return a finite number above 0, or say by a UsageError that `key` needs one."""
    if not _number(value) or not 0 < value < math.inf:
        raise UsageError(f"{key}={value}: give a number above 0")
    return float(value)


def pair(value: Any, key: str, least: int = 1) -> Pair:
    """Return (rows, columns), each at least `least`, for one whole number that counts for both or a pair.

    Raises
    ------
    UsageError
        Where `key` is neither.
    """
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value, value]
    if len(values) != 2 or not all(_whole(number, least) for number in values):
        raise UsageError(
            f"{key}={value}: give a whole number of at least {least}, or a pair of them, [rows, columns]"
        )
    return int(values[0]), int(values[1])


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
