"""From the columns of a table to the inputs of a network: numbers as they are, categories one-hot."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Table
from trainer.errors import UsageError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoding:
    """Which columns become inputs, in which order, and the categories of those that have some.

    A category that the training part does not have becomes zeros in all of its column's inputs: an input that
    is zero throughout training would have weights that nothing taught.

    Parameters
    ----------
    columns : tuple of str
        The names of the columns.
    categories : mapping of str to tuple of str
        The categories of each column that is not a number.
    """

    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, table: Table, columns: Sequence[str], categorical: Iterable[str], rows: NDArray[Any]
    ) -> Encoding:
        """Take the categories, sorted, of some rows: those of the training part."""
        found = {}
        for name in categorical:
            texts = table.column(name, "data.categorical").texts()
            found[name] = tuple(sorted({texts[row] for row in rows}))
        return cls(tuple(columns), found)

    @classmethod
    def from_names(cls, names: Sequence[str], table: Table) -> Encoding:
        """Recover an encoding from the names of its inputs and a table that has its columns.

        Raises
        ------
        UsageError
            For an input that belongs to none of the columns.
        """
        columns: dict[str, list[str]] = {}
        for name in names:
            column = name if name in table.columns else _column_of_category(name, table)
            columns.setdefault(column, [])
            if column != name:
                columns[column].append(name[len(column) + 1 :])
        return cls(tuple(columns), {name: tuple(found) for name, found in columns.items() if found})

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs: `age` for a number, `colour=red` for a category."""
        return tuple(name for column in self.columns for name in self._names(column))

    def encode(self, table: Table) -> NDArray[np.float32]:
        """Return the inputs, (rows, inputs).

        Raises
        ------
        UsageError
            For a column that is missing, and for the first value that is missing, no number or not finite.
        """
        inputs = np.empty((len(table), len(self.names)), np.float32)
        first = 0
        for name in self.columns:
            width = len(self._names(name))
            inputs[:, first : first + width] = self._column(table, name)
            first += width
        return inputs

    def _names(self, column: str) -> list[str]:
        if column not in self.categories:
            return [column]
        return [f"{column}={category}" for category in self.categories[column]]

    def _column(self, table: Table, name: str) -> NDArray[Any]:
        column = table.column(name, "data.features")
        if name not in self.categories:
            return column.numbers()[:, np.newaxis]
        numbers = {category: number for number, category in enumerate(self.categories[name])}
        texts = column.texts()
        places = np.array([numbers.get(text, -1) for text in texts])
        unseen = sorted({text for text in texts if text not in numbers})
        if unseen:
            log.warning(
                "%s: column %r has %d rows of categories that the training part lacks (%s): all zeros",
                table.source,
                name,
                int((places < 0).sum()),
                ", ".join(unseen[:10]) + (", ..." if len(unseen) > 10 else ""),
            )
        encoded: NDArray[Any] = places[:, np.newaxis] == np.arange(len(numbers))
        return encoded


def _column_of_category(name: str, table: Table) -> str:
    fitting = [column for column in table.columns if name.startswith(f"{column}=")]
    if not fitting:
        raise UsageError(
            f"{table.source}: has no column for the input {name!r}, which the network was trained with"
        )
    return max(fitting, key=len)
