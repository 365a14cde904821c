"""Data in npy files, read row by row, so that it may be larger than memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.parts import Data, Part
from trainer.data.splits import Split
from trainer.data.stored import StoredArray
from trainer.errors import UsageError

# Targets up to this size are kept in memory: objectives look at them, and they cost a read each otherwise.
_TARGETS_IN_MEMORY = 256 * 1024**2


def npy(
    inputs: str,
    targets: str | None = None,
    classes: int | None = None,
    scale: float | None = None,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 1,
) -> Data:
    """Read examples from npy files as they are needed; the inputs are never in memory whole.

    The parts are drawn at random and stratified by class. They depend on this function's `seed` alone.

    Parameters
    ----------
    inputs : str
        The file with the inputs, (examples, *input_shape), of any whole numbers or floats. Images are
        (examples, channels, rows, columns).
    targets : str, optional
        The file with the targets: class numbers from 0 as whole numbers, (examples,), or values as floats,
        (examples,) or (examples, outputs). Without targets an input has a target of 0, for objectives that
        look at the inputs alone (`objective=reconstruction`).
    classes : int, optional
        How many classes whole-number targets count; the largest target and one more where omitted.
    scale : float, optional
        What inputs are multiplied with, 1/255 = 0.00392157 for bytes that shall lie in [0, 1].
    validation_fraction, test_fraction : float, default 0.1
        The share of all examples that the part takes: at least 0, together below 1.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where a file is missing or broken (`trainer.data.stored.StoredArray`), where the lengths differ, and
        for a target that is not finite or no class. Inputs that are not finite are found where
        `data.normalization` reads them all.
    """
    stored = StoredArray(Path(inputs).expanduser(), scale)
    if len(stored.shape) < 2:
        raise UsageError(
            f"{inputs}: has the shape {stored.shape}; inputs need the examples' axis and at least one more"
        )
    values = np.zeros(len(stored), np.float32) if targets is None else _read_targets(targets, stored)
    is_class = values.ndim == 1 and np.issubdtype(values.dtype, np.integer)
    if classes is not None and not is_class:
        raise UsageError(
            f"data.classes={classes} needs whole numbers of the shape ({len(stored)},) as targets, "
            f"but {targets} holds {values.dtype} of the shape {values.shape}"
        )
    count = _classes(values, classes, targets) if is_class else None
    split = Split(validation_fraction, test_fraction, seed)
    train, validation, test = (
        Part(stored, values, rows)  # type: ignore[arg-type]
        for rows in split.places(values, count)
    )
    return Data(
        train=train,
        validation=validation,
        test=test,
        input_shape=stored.shape[1:],
        outputs=count or math.prod(values.shape[1:]),
        classes=count,
        name=stored.path.stem,
    )


def _read_targets(name: str, inputs: StoredArray) -> Any:
    stored = StoredArray(Path(name).expanduser())
    if len(stored) != len(inputs):
        raise UsageError(f"{name}: has {len(stored):,} targets, but {inputs.path} has {len(inputs):,} inputs")
    if math.prod(stored.shape) * stored.dtype.itemsize > _TARGETS_IN_MEMORY:
        return stored
    values = stored[:]
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        place = tuple(int(index) for index in bad[0])
        raise UsageError(f"{name}: target {list(place)} is {values[place]}; targets must be finite numbers")
    return values.astype(np.int32) if values.dtype == bool else values


def _classes(values: NDArray[Any], classes: int | None, name: str | None) -> int:
    count = int(values.max()) + 1 if classes is None else classes
    outside = np.flatnonzero((values < 0) | (values >= count))
    if outside.size:
        place = int(outside[0])
        raise UsageError(
            f"{name}: target [{place}] is {values[place]}; the classes go from 0 to {max(0, count - 1)}"
        )
    return count
