"""An array that stays in its npy file: rows are read when they are asked for."""

from __future__ import annotations

import math
import os
import tokenize
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from trainer.errors import RunError, UsageError

# What NumPy raises for headers that are not what it wrote.
_UNSOUND = (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError)


class StoredArray:
    """An array in an npy file, for arrays larger than memory.

    Rows are read at their place in the file and not through a mapping: what was read never counts as memory
    of this process, a file that is cut short while a run goes on is an error and not the process's end, and a
    batch of rows at random costs less (128 rows of 784 bytes that the system holds: 0.2 ms against 0.5 ms
    with `madvise` after each batch). Rows that were asked for by `prefetch` are read by the system meanwhile,
    many at a time: the same batch from disk takes 2 ms instead of 12.

    Parameters
    ----------
    path : Path
        The file: format version 1 or 2, C order, whole numbers, floats or booleans.
    scale : float, optional
        What the numbers are multiplied with, 1/255 for bytes that shall lie in [0, 1]; the rows are then
        float32.

    Attributes
    ----------
    shape : tuple of int
        As the file says.
    dtype : dtype
        Of the rows that are given.

    Raises
    ------
    UsageError
        Where the file cannot be read, is no npy file, has no rows, is cut short, or holds anything else than
        numbers. Objects are refused, never unpickled.
    """

    def __init__(self, path: Path, scale: float | None = None) -> None:
        self.path = path
        self.scale = None if scale is None else np.float32(scale)
        try:
            self._file = path.open("rb", buffering=0)
            self.shape, self._stored_dtype = _header(path, self._file)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
        self.dtype = self._stored_dtype if scale is None else np.dtype(np.float32)
        self._descriptor = self._file.fileno()
        self._begin = self._file.tell()
        self._row_bytes = math.prod(self.shape[1:]) * self._stored_dtype.itemsize
        wanted, found = self._begin + len(self) * self._row_bytes, os.fstat(self._descriptor).st_size
        if found < wanted:
            raise UsageError(
                f"{path}: is cut short: {len(self):,} rows need {wanted:,} bytes, but it ends after {found:,}"
            )

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a row by its number, or rows by a slice or an array of places."""
        if isinstance(key, slice):
            first, last, step = key.indices(len(self))
            if step == 1:
                return self._converted(self._range(first, max(first, last)))
            return self._converted(self._rows(np.arange(first, last, step)))
        places = np.asarray(key)
        if places.dtype == bool:
            return self[np.flatnonzero(places)]
        if places.size and not -len(self) <= places.min() <= places.max() < len(self):
            raise IndexError(f"{self.path} has the rows 0 to {len(self) - 1}, and {key} lies outside")
        places = np.where(places < 0, places + len(self), places)
        return self._converted(self._rows(places) if places.ndim else self._rows(places[np.newaxis])[0])

    def __array__(self, dtype: DTypeLike = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)

    def prefetch(self, places: NDArray[Any]) -> None:
        """Ask the system to read rows that will be wanted soon, without waiting for them."""
        advise = getattr(os, "posix_fadvise", None)
        if advise is None:
            return
        for offset in self._offsets(places):
            advise(self._descriptor, offset, self._row_bytes, os.POSIX_FADV_WILLNEED)

    def _offsets(self, places: NDArray[Any]) -> list[int]:
        offsets: list[int] = (places.astype(np.int64) * self._row_bytes + self._begin).tolist()
        return offsets

    def _rows(self, places: NDArray[Any]) -> NDArray[Any]:
        rows = np.empty((len(places), *self.shape[1:]), self._stored_dtype)
        size, memory = self._row_bytes, _bytes_of(rows)
        for number, offset in enumerate(self._offsets(places)):
            self._read(memory[number * size : (number + 1) * size], offset)
        return rows

    def _range(self, first: int, last: int) -> NDArray[Any]:
        rows = np.empty((int(last - first), *self.shape[1:]), self._stored_dtype)
        self._read(_bytes_of(rows), self._begin + int(first) * self._row_bytes)
        return rows

    def _read(self, memory: memoryview, offset: int) -> None:
        # One call reads 2 GiB at most, and a file that shrinks gives less than it is asked for.
        try:
            while len(memory):
                count = os.preadv(self._descriptor, [memory], offset)
                if not count:
                    size = os.fstat(self._descriptor).st_size
                    raise RunError(f"{self.path}: has {size:,} bytes now; it had more when the run began")
                memory, offset = memory[count:], offset + count
        except OSError as error:
            raise RunError(f"{self.path}: cannot be read any more ({error.strerror or error})") from error

    def _converted(self, rows: NDArray[Any]) -> NDArray[Any]:
        return rows if self.scale is None else np.multiply(rows, self.scale, dtype=np.float32)


def _bytes_of(rows: NDArray[Any]) -> memoryview:
    return memoryview(rows.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # NumPy 1.23 lacks the protocol


def _header(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read shape and dtype, and leave the file at its first number."""
    readers: dict[tuple[int, int], Any] = {
        (1, 0): npy_format.read_array_header_1_0,
        (2, 0): npy_format.read_array_header_2_0,
    }
    try:
        version = npy_format.read_magic(file)  # type: ignore[no-untyped-call]
        if version not in readers:
            raise ValueError(f"version {version[0]}.{version[1]}, not 1.0 or 2.0")
        shape, column_order, dtype = readers[version](file)
    except _UNSOUND as error:
        raise UsageError(f"{path}: is no sound npy file ({error}); write one with numpy.save") from error
    if dtype.hasobject:
        raise UsageError(f"{path}: holds Python objects, which are not read; save numbers instead")
    if dtype.kind not in "biuf":
        raise UsageError(f"{path}: holds {dtype}; whole numbers, floats or booleans belong here")
    if not shape or min(shape) < 1:
        raise UsageError(f"{path}: has the shape {shape}; at least one row is needed")
    if column_order and len(shape) > 1:
        raise UsageError(
            f"{path}: is in Fortran order, so that its rows do not lie together; "
            "save numpy.ascontiguousarray of the array"
        )
    return shape, dtype
