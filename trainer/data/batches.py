"""The batches of an epoch, in an order that is a function of a seed and the epoch's number alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.data.parts import Part
from trainer.errors import UsageError

Batch = tuple[NDArray[Any], NDArray[Any]]


class Batches:
    """Cut a part into batches, epoch after epoch.

    There is no state: a run that goes on after a stop asks for the epoch and the batch at which it stood, and
    gets what it would have got.

    Parameters
    ----------
    part : Part
        The examples.
    batch_size : int
        Examples a batch, at least 1. The last batch of an epoch has those that are left, so it may be
        shorter.
    seed : int or None, default None
        Shuffles each epoch anew; None keeps the order of the part.
    dtype : dtype, default "float32"
        Of the inputs, and of targets that are no whole numbers; whole-number targets become int32.

    Raises
    ------
    UsageError
        Where `batch_size` is below 1.
    """

    def __init__(
        self, part: Part, batch_size: int, *, seed: int | None = None, dtype: DTypeLike = "float32"
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"training.batch_size is {batch_size}; it must be at least 1 example")
        self.batch_size = batch_size
        self.seed = seed
        self._inputs = part.inputs
        self._dtype = np.dtype(dtype)
        whole = np.issubdtype(part.targets.dtype, np.integer)
        self._targets = part.targets.astype(np.int32 if whole else self._dtype, copy=False)

    def __len__(self) -> int:
        """Batches an epoch, the short one included."""
        return -(-len(self._targets) // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Give the batches of one epoch.

        Parameters
        ----------
        number : int
            The epoch's number, at least 0. With the seed it determines the order; without a seed it means
            nothing.
        start : int, default 0
            The batch to begin with, to go on in the middle of an epoch.

        Yields
        ------
        inputs, targets : arrays
            C-contiguous. Unshuffled batches may be views of the part: read them only.
        """
        order = self._order(number)
        for first in range(start * self.batch_size, len(self._targets), self.batch_size):
            chosen = slice(first, first + self.batch_size)
            if order is None:
                yield self._converted(self._inputs[chosen]), self._targets[chosen]
            else:
                places = order[chosen]
                yield (
                    self._converted(np.take(self._inputs, places, axis=0)),
                    np.take(self._targets, places, axis=0),
                )

    def _order(self, number: int) -> NDArray[Any] | None:
        if self.seed is None:
            return None
        generator = np.random.default_rng(np.random.SeedSequence([self.seed, number]))
        return generator.permutation(len(self._targets))

    def _converted(self, inputs: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(inputs, dtype=self._dtype)
