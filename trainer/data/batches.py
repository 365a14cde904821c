"""The batches of an epoch, a function of a seed and the epoch's number alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainer.data.ahead import prepared_ahead
from trainer.data.rows import can_prefetch, in_memory
from trainer.errors import UsageError

if TYPE_CHECKING:
    from trainer.data.parts import Part

Batch = tuple[NDArray[Any], NDArray[Any]]
Augmentation = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]

# Small batches are taken several at once: taking their rows costs less than the calls around it.
_BLOCK_BYTES = 512 * 1024
# One batch in the making and one that waits: more would only hold more memory.
_DEPTH = 2


class Batches:
    """Cut a part into batches, epoch after epoch.

    There is no state: a run that goes on after a stop asks for the epoch and the batch at which it stood, and
    gets what it would have got.

    Parameters
    ----------
    part : Part
        The examples. Where they are read from a file, the file is asked for the next batch's rows before the
        present one is given, so that the system reads them while the step computes.
    batch_size : int
        Examples a batch, at least 1. The last batch of an epoch has those that are left, so it may be
        shorter.
    seed : int or None, default None
        Shuffles each epoch anew; None keeps the order of the part.
    dtype : dtype, default "float32"
        Of the inputs, and of targets that are no whole numbers; whole-number targets become int32.
    augmentation : sequence of callables, optional
        Each from a batch of inputs and a random generator to a new batch of the same shape, applied in their
        order (`trainer.data.augmentation`). The generator is that of (seed, epoch, number of the batch), 0
        standing for a seed of None.
    ahead : int, optional
        How many batches a thread prepares ahead of the step, 0 for no thread. Where omitted, 2 where taking
        rows may wait for something and the array cannot `prefetch`, and 0 elsewhere, since Theano keeps
        Python's lock during a step: a thread gains what is waited for, and of work next to nothing.

    Attributes
    ----------
    ahead : int
        As decided.

    Raises
    ------
    UsageError
        Where `batch_size` is below 1 or `ahead` below 0.
    """

    def __init__(
        self,
        part: Part,
        batch_size: int,
        *,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
        augmentation: Sequence[Augmentation] | None = None,
        ahead: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"training.batch_size is {batch_size}; it must be at least 1 example")
        if ahead is not None and ahead < 0:
            raise UsageError(f"ahead is {ahead}; it must be at least 0, the number of batches prepared ahead")
        self.batch_size = batch_size
        self.seed = seed
        self.augmentation = tuple(augmentation or ())
        self._inputs: Any = part.inputs
        self._targets: Any = part.targets
        self._dtype = np.dtype(dtype)
        whole = np.issubdtype(self._targets.dtype, np.integer)
        self._target_dtype = np.dtype(np.int32) if whole else self._dtype
        if isinstance(self._targets, np.ndarray):
            self._targets = self._targets.astype(self._target_dtype, copy=False)
        self._batch_bytes = batch_size * math.prod(self._inputs.shape[1:]) * self._dtype.itemsize
        self._at_once = max(1, _BLOCK_BYTES // max(1, self._batch_bytes))
        self._waits = not in_memory(self._inputs) and not can_prefetch(self._inputs)
        self.ahead = _DEPTH * self._waits if ahead is None else ahead

    def __len__(self) -> int:
        """Batches an epoch, the short one included."""
        return -(-len(self._inputs) // self.batch_size)

    def describe(self) -> str:
        """Say how batches come to the step, and why, for the log."""
        size = f"{self._batch_bytes / 1024:,.0f} KiB"
        work = "read" if not in_memory(self._inputs) else "augmented" if self.augmentation else "gathered"
        if self.ahead:
            why = ", since reading waits" if self._waits else ""
            return f"batches of {size} are {work} by a thread, up to {self.ahead} ahead of the step{why}"
        if can_prefetch(self._inputs):
            return f"batches of {size} are read from the file, the next one asked for while the step computes"
        return f"batches of {size} are {work} in memory between the steps, where a thread would gain nothing"

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Give the batches of one epoch.

        Parameters
        ----------
        number : int
            The epoch's number, at least 0. With the seed it determines the order and the augmentation.
        start : int, default 0
            The batch to begin with, to go on in the middle of an epoch.

        Returns
        -------
        iterator of (inputs, targets)
            C-contiguous arrays, which may be views of the part: read them only.
        """
        batches = self._batches(number, start)
        return prepared_ahead(batches, self.ahead) if self.ahead else batches

    def _batches(self, number: int, start: int) -> Iterator[Batch]:
        order = self._order(number)
        size, total = self.batch_size, len(self._inputs)
        block = size * self._at_once
        prefetch = self._inputs.prefetch if can_prefetch(self._inputs) else None
        for first in range(start * size, total, block):
            places = slice(first, first + block) if order is None else order[first : first + block]
            inputs = _taken(self._inputs, places, self._dtype)
            targets = _taken(self._targets, places, self._target_dtype)
            if prefetch is not None:
                following = slice(first + block, min(first + 2 * block, total))
                prefetch(np.arange(following.start, following.stop) if order is None else order[following])
            for begin in range(0, len(inputs), size):
                batch = inputs[begin : begin + size]
                if self.augmentation:
                    batch = self._augmented(batch, number, (first + begin) // size)
                yield batch, targets[begin : begin + size]

    def _order(self, number: int) -> NDArray[Any] | None:
        if self.seed is None:
            return None
        return np.random.default_rng(np.random.SeedSequence([self.seed, number])).permutation(
            len(self._inputs)
        )

    def _augmented(self, inputs: NDArray[Any], epoch: int, number: int) -> NDArray[Any]:
        seed = np.random.SeedSequence([self.seed or 0, epoch], spawn_key=(number,))
        generator = np.random.default_rng(seed)
        for augment in self.augmentation:
            inputs = augment(inputs, generator)
        return np.ascontiguousarray(inputs, dtype=self._dtype)


def _taken(array: Any, places: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return rows in C order; np.take is faster than an index where the array is in memory."""
    taken = isinstance(array, np.ndarray) and not isinstance(places, slice)
    rows = np.take(array, places, axis=0) if taken else array[places]
    return np.ascontiguousarray(rows, dtype=dtype)
