"""Some rows of a larger array that is not in memory, so that a part of a big set copies nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Rows:
    """Rows of a larger array, which looks like an array with those rows alone.

    Parameters
    ----------
    array : array, (all rows, ...)
        Anything that has `shape` and `dtype` and gives rows for a number, a slice, and an array of places.
    places : array of int, (rows,)
        The rows, in their order here.
    """

    def __init__(self, array: Any, places: NDArray[Any]) -> None:
        self.array = array
        self.places = places
        self.shape: tuple[int, ...] = (len(places), *array.shape[1:])
        self.dtype: np.dtype[Any] = array.dtype

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Return copies of rows: one for a number, several for a slice or an array of places."""
        rows: NDArray[Any] = self.array[self.places[key]]
        return rows

    def __array__(self, dtype: DTypeLike = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def prefetch(self, places: NDArray[Any]) -> None:
        """Hand on to the array, where it can, that rows will be wanted soon."""
        if can_prefetch(self.array):
            self.array.prefetch(self.places[places])


def in_memory(array: Any) -> bool:
    """Tell whether taking rows waits for nothing."""
    return isinstance(array, np.ndarray) and not isinstance(array, np.memmap)


def can_prefetch(array: Any) -> bool:
    """Tell whether rows can be asked for before they are wanted."""
    return hasattr(array.array if isinstance(array, Rows) else array, "prefetch")
