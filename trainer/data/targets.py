"""Targets: class numbers with the names of the classes, or values to regress on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Column, number_text
from trainer.errors import UsageError

Task = Literal["auto", "classes", "values"]

_CERTAINLY_CLASSES = 20
_ROWS_A_CLASS = 5


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of some examples.

    Parameters
    ----------
    values : array, (examples,) or (examples, ...)
        int32 class numbers, or float32 values.
    labels : Labels or None
        The classes; None for values.
    """

    values: NDArray[Any]
    labels: Labels | None = None

    @property
    def classes(self) -> int | None:
        """How many classes there are, None for values."""
        return None if self.labels is None else len(self.labels.names)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """The names of the classes by number, None for values."""
        return None if self.labels is None else self.labels.names

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for an example: one a class, or one a value."""
        return self.classes or math.prod(self.values.shape[1:])


@dataclass(frozen=True, eq=False)
class Labels:
    """The classes of a target: its distinct values, sorted; numbers by size and texts by letter."""

    values: NDArray[Any]

    @classmethod
    def of(cls, column: Column) -> Labels:
        """Find the classes of a column.

        Raises
        ------
        UsageError
            Where all values are the same.
        """
        numeric = column.first_text() is None
        labels = cls(np.unique(column.numbers() if numeric else np.array(column.texts())))
        if len(labels.values) < 2:
            raise UsageError(
                f"{column.at(0)}: all targets are {labels.names[0]}; classes must be at least two"
            )
        return labels

    @property
    def names(self) -> tuple[str, ...]:
        """The classes in words, by number."""
        numeric = self.values.dtype.kind == "f"
        return tuple(number_text(value) if numeric else str(value) for value in self.values)

    def numbers(self, column: Column) -> NDArray[np.int32]:
        """Return the class number, from 0, of each row.

        Raises
        ------
        UsageError
            For the first value that is none of the classes.
        """
        given = column.numbers() if self.values.dtype.kind == "f" else np.array(column.texts())
        places = np.minimum(np.searchsorted(self.values, given), len(self.values) - 1)
        unknown = np.flatnonzero(self.values[places] != given)
        if unknown.size:
            row = int(unknown[0])
            shown = ", ".join(self.names[:20]) + (", ..." if len(self.names) > 20 else "")
            raise UsageError(
                f"{column.at(row)}: {column.texts()[row]!r} is none of the {len(self.names)} classes of the "
                f"training file: {shown}"
            )
        return places.astype(np.int32)


def read_targets(column: Column, task: Task) -> Targets:
    """Make targets of a column.

    With `task="auto"`, texts are classes, and so are whole numbers; other numbers are values.

    Raises
    ------
    UsageError
        Where a value is missing or not finite, and where `auto` cannot tell: texts among numbers, and whole
        numbers that are different in almost every row.
    """
    if _are_classes(column, task):
        labels = Labels.of(column)
        return Targets(labels.numbers(column), labels)
    return Targets(column.numbers().astype(np.float32))


def read_more_targets(column: Column, targets: Targets) -> Targets:
    """Make targets of another file's column, of the same kind and with the same classes."""
    if targets.labels is not None:
        return Targets(targets.labels.numbers(column), targets.labels)
    return Targets(column.numbers().astype(np.float32))


def _are_classes(column: Column, task: Task) -> bool:
    if task != "auto":
        return task == "classes"
    text_row = column.first_text()
    if text_row is not None:
        if column.has_numbers():
            raise UsageError(
                f"{column.at(text_row)}: the target {column.texts()[text_row]!r} stands among numbers; mend "
                "it, or say data.task=classes where all of them are names of classes"
            )
        return True
    numbers = column.numbers()
    if not np.all(numbers == np.floor(numbers)):
        return False
    distinct = len(np.unique(numbers))
    if distinct > _CERTAINLY_CLASSES and distinct * _ROWS_A_CLASS > len(numbers):
        raise UsageError(
            f"data.task=auto cannot tell what the targets are: {distinct} different whole numbers in "
            f"{len(numbers)} rows; say data.task=values or data.task=classes"
        )
    return True
