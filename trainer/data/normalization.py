"""Normalisation: what is taken off each feature and what it is divided by, found on the training part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.parts import Part
from trainer.data.rows import Rows
from trainer.errors import UsageError, nearest

KINDS = ("none", "standard", "range")

# A piece that stays in the cache while it is looked at several times.
_CHUNK_NUMBERS = 2**17

Numbers = NDArray[np.float64]


class Normalization(NamedTuple):
    """Normalised values are (x − offset) / scale.

    Parameters
    ----------
    offset, scale : arrays of float64
        One number a feature or channel, (features,), or one number for all, ().
    """

    offset: Numbers
    scale: Numbers


def fit_inputs(part: Part, kind: str) -> Normalization | None:
    """Find the normalisation of a part's inputs.

    Vectors, (examples, features), are normalised by feature, images, (examples, channels, rows, columns), by
    channel, and inputs of other shapes by one number for all.

    Parameters
    ----------
    part : Part
        The training part; it is read once, in pieces, and summed in float64.
    kind : str
        `standard` for mean 0 and standard deviation 1 (that of the part, divided by its size), `range` for
        values from 0 to 1, `none` for none.

    Returns
    -------
    Normalization or None
        None for `none`. A feature that is the same in all examples has a scale of 1, and becomes 0.

    Raises
    ------
    UsageError
        For an unknown kind, and for a number that is not finite, with its place.
    """
    return _fit(part.inputs, kind, "input", "data.normalization")


def fit_targets(part: Part, kind: str) -> Normalization | None:
    """Find the normalisation of a part's targets, which are values and no classes.

    Targets of the shape (examples, outputs) are normalised by output, single ones by one number. Arguments,
    result and errors are those of `fit_inputs`.
    """
    if kind != "none" and np.issubdtype(part.targets.dtype, np.integer):
        raise UsageError(
            f"data.target_normalization={kind} is for targets that are values, but these are whole numbers: "
            "leave it at none"
        )
    return _fit(part.targets, kind, "target", "data.target_normalization")


def _fit(array: Any, kind: str, word: str, key: str) -> Normalization | None:
    if kind not in KINDS:
        raise UsageError(f"{key}={kind} is not known: {nearest(kind, KINDS)}")
    if kind == "none":
        return None
    moments = _Moments(array.ndim)
    for first, values in _chunks(array):
        # A sum is quicker looked through than its terms, and it is finite only where they are.
        if not np.isfinite(values.sum()) and not np.isfinite(values).all():
            raise UsageError(_not_finite(array, first, values, word))
        moments.add(values)
    constant = moments.high == moments.low
    if kind == "range":
        offset, scale = moments.low, moments.high - moments.low
    else:
        # The mean of equal numbers may be off by a rounding, and they shall become 0.
        offset = np.where(constant, moments.low, moments.mean)
        scale = np.sqrt(moments.squares / moments.count)
    return Normalization(np.asarray(offset), np.asarray(np.where(constant, 1.0, scale)))


class _Moments:
    """Mean, sum of squared deviations and limits of what was added so far, by feature.

    Pieces are merged by their means and deviations, which loses no digits where the mean is large against the
    deviation (Chan, Golub & LeVeque 1983, The American Statistician 37).
    """

    def __init__(self, dimensions: int) -> None:
        self.axes = {2: (0,), 4: (0, 2, 3)}.get(dimensions)
        self.count = 0
        self.mean: Any = np.float64(0)
        self.squares: Any = np.float64(0)
        self.low: Any = np.float64(np.inf)
        self.high: Any = np.float64(-np.inf)

    def add(self, values: Numbers) -> None:
        """Add a piece, whose values are overwritten."""
        self.low = np.minimum(self.low, values.min(axis=self.axes))
        self.high = np.maximum(self.high, values.max(axis=self.axes))
        mean = values.mean(axis=self.axes, keepdims=True)
        values -= mean
        squares = np.square(values, out=values).sum(axis=self.axes)
        mean = mean.reshape(squares.shape)
        count = values.size // mean.size
        apart = mean - self.mean
        total = self.count + count
        self.mean = self.mean + apart * (count / total)
        self.squares = self.squares + squares + np.square(apart) * (self.count * (count / total))
        self.count = total


def _chunks(array: Any) -> Iterator[tuple[int, Numbers]]:
    numbers = max(1, int(np.prod(array.shape[1:], dtype=np.int64)))
    rows = max(1, _CHUNK_NUMBERS // numbers)
    for first in range(0, len(array), rows):
        yield first, np.array(array[first : first + rows], np.float64)


def _not_finite(array: Any, first: int, values: Numbers, word: str) -> str:
    place = [int(index) for index in np.argwhere(~np.isfinite(values))[0]]
    value = values[tuple(place)]
    place[0] += first
    where = "data: the training part"
    if isinstance(array, Rows):
        place[0] = int(array.places[place[0]])
        array = array.array
    if hasattr(array, "path"):
        where = str(array.path)
    return f"{where}: {word} {place} is {value}; mend it, or leave the example out"
