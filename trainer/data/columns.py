"""Tables and their columns: numbers or texts, each of which knows where it stands in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import UsageError, nearest

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table, or an array of targets.

    Parameters
    ----------
    values : array of float, or list of str
        One value a row; texts may be None where they are missing.
    at : callable
        From a row, counted from 0, to the words that tell a person where it is.
    """

    values: NDArray[Any] | list[str | None]
    at: Callable[[int], str]

    def __len__(self) -> int:
        return len(self.values)

    def numbers(self) -> NDArray[np.float64]:
        """Return the values as numbers.

        Raises
        ------
        UsageError
            For the first value that is missing, is no number, or is not finite in float32.
        """
        numbers = self._parsed(self.values) if isinstance(self.values, list) else self.values
        # NaN compares as false, so it is caught as well.
        wrong = np.flatnonzero(~(np.abs(numbers) <= _LARGEST))
        if wrong.size:
            row = int(wrong[0])
            raise UsageError(
                f"{self.at(row)}: {numbers[row]:g} is not a finite number of float32; "
                "mend it or delete its row"
            )
        return numbers.astype(np.float64)

    def texts(self) -> list[str]:
        """Return the values as texts, numbers in their shortest form.

        Raises
        ------
        UsageError
            For the first value that is missing.
        """
        if not isinstance(self.values, list):
            return [number_text(number) for number in self.numbers()]
        return [self._present(row, text) for row, text in enumerate(self.values)]

    def first_text(self) -> int | None:
        """Return the first row that is no number, None where all are; missing values are refused."""
        if not isinstance(self.values, list):
            return None
        return next((row for row, text in enumerate(self.texts()) if not _is_number(text)), None)

    def has_numbers(self) -> bool:
        """Return whether any value is a number."""
        return not isinstance(self.values, list) or any(_is_number(text or "") for text in self.values)

    def _parsed(self, texts: list[str | None]) -> NDArray[np.float64]:
        # NumPy would take 1_000 for a number, as Python does in its source.
        if not any(text is None or "_" in text for text in texts):
            try:
                return np.array(texts, dtype=np.float64)
            except ValueError:
                pass
        return np.array([self._number(row, text) for row, text in enumerate(texts)])

    def _number(self, row: int, text: str | None) -> float:
        present = self._present(row, text)
        if not _is_number(present):
            raise UsageError(
                f"{self.at(row)}: {present!r} is no number; mend it, or, where the column holds the names of "
                "categories, add it to data.categorical, or leave the column out by data.exclude"
            )
        return float(present)

    def _present(self, row: int, text: str | None) -> str:
        if text is None or not text.strip():
            raise UsageError(
                f"{self.at(row)}: the value is missing; fill it in, delete its row, or leave the column out "
                "by data.exclude"
            )
        return text.strip()


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length by name, and the file that they come from."""

    source: str
    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        if not self.columns or not len(self):
            raise UsageError(f"{self.source}: has no rows; give a table with at least one")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str, key: str) -> Column:
        """Return a column by name; `key` is the key that asks for it.

        Raises
        ------
        UsageError
            Where the table has no such column, with the nearest name.
        """
        if name not in self.columns:
            raise UsageError(
                f"{self.source}: has no column {name!r}, which {key} names: {nearest(name, self.columns)}"
            )
        return self.columns[name]


def number_text(number: float) -> str:
    """Write a number in its shortest form.

    >>> number_text(3.0), number_text(0.1)
    ('3', '0.1')
    """
    return str(int(number)) if float(number).is_integer() else repr(float(number))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
