"""A training part that stays on the device: the step is handed places, and takes the rows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import theano
from theano import tensor

from trainer.data import Part
from trainer.data.rows import in_memory
from trainer.errors import UsageError
from trainer.training.steps import TrainingStep, compile_training_step

# The share of a device's free memory that the training part may take, beside the network and its values.
_SHARE = 4


@dataclass(frozen=True, eq=False)
class Resident:
    """A part as shared variables.

    Attributes
    ----------
    part : Part
        The places instead of the rows, as int32: its batches come in the order of the part's own, given as
        `part.batches(batch_size, seed=seed, dtype="int32")`.
    places : symbolic vector of int32
        The places of a batch.
    givens : mapping
        The variables of a batch to its rows.
    arrays : mapping
        The part's `inputs` and `targets` as shared variables.
    source : Part
        The part that they are copies of.
    """

    part: Part
    places: Any
    givens: Mapping[Any, Any]
    arrays: Mapping[str, Any]
    source: Part

    def holding(self, part: Part) -> Resident:
        """Return this with another part in its shared variables, which a compiled step reads."""
        if part is self.source:
            return self
        for name, shared in self.arrays.items():
            shared.set_value(np.ascontiguousarray(getattr(part, name), shared.dtype))
        return replace(self, part=_places_of(part), source=part)

    def compile_step(self, loss: Any, norm: Any, updates: Mapping[Any, Any], **options: Any) -> TrainingStep:
        """Compile one update, called with a batch's places twice, as its inputs and as its targets.

        The arguments are those of `trainer.training.compile_training_step`.
        """
        same = tensor.ivector("same places")
        return compile_training_step(self.places, same, loss, norm, updates, givens=self.givens, **options)


def make_resident(part: Part, inputs: Any, targets: Any) -> Resident:
    """Copy a part to the device.

    Parameters
    ----------
    part : Part
        The training part, in memory.
    inputs, targets : symbolic variables
        Of a batch, as the graph was built with; they say the dtypes.
    """
    places = tensor.ivector("places")
    batch = {"inputs": inputs, "targets": targets}
    arrays = {
        name: theano.shared(np.ascontiguousarray(getattr(part, name), variable.dtype), f"resident.{name}")
        for name, variable in batch.items()
    }
    givens = {variable: _taken(arrays[name], places) for name, variable in batch.items()}
    return Resident(_places_of(part), places, givens, arrays, part)


def _taken(array: Any, places: Any) -> Any:
    if str(theano.config.device) == "cpu":
        return array[places]
    from trainer.kernels.device.rows import rows

    return rows(array, places)


def _places_of(part: Part) -> Part:
    numbers = np.arange(len(part), dtype=np.int32)
    return Part(numbers, numbers)


def choose_feeding(
    wanted: str, part: Part, itemsize: int, *, room: int | None, augmented: bool
) -> tuple[bool, str]:
    """Decide whether the training part stays on the device.

    On a CPU it gains nothing: taking the rows outside costs the same as within the step (MNIST by a network
    of 784-800-800-10, batches of 500: 34.8 ms a step with arrays, 35.0 ms resident).

    Parameters
    ----------
    wanted : str
        `auto`, `arrays` or `resident`.
    part : Part
        The training part.
    itemsize : int
        Bytes of a number of its inputs on the device.
    room : int or None
        Bytes that the device has free; None for the CPU.
    augmented : bool
        Whether inputs are changed before they come to the step.

    Returns
    -------
    resident : bool
        The choice.
    reason : str
        For the log.

    Raises
    ------
    UsageError
        Where `resident` is wanted and cannot be.
    """
    size = int(np.prod(part.inputs.shape, dtype=np.int64)) * itemsize
    obstacle = None
    if type(part) is not Part:
        obstacle = "the training part's batches are no rows of an array"
    elif not in_memory(part.inputs) or not in_memory(part.targets):
        obstacle = "the training part is read from a file"
    elif augmented:
        obstacle = "the training part is augmented"
    if wanted == "resident":
        if obstacle:
            raise UsageError(
                f"training.feeding=resident keeps the training part on the device, but {obstacle}: "
                "choose training.feeding=auto"
            )
        return True, "the training part stays on the device: training.feeding=resident"
    if wanted == "arrays":
        return False, "batches are handed over as arrays: training.feeding=arrays"
    if room is None:
        obstacle = obstacle or "on a CPU, taking rows within the step is no faster"
    elif size * _SHARE > room:
        obstacle = obstacle or (
            f"the training part's {_mebibytes(size)} are more than a quarter of the {_mebibytes(room)} "
            "that the device has free"
        )
    if obstacle:
        return False, f"batches are handed over as arrays: {obstacle}"
    return True, f"the training part stays on the device, {_mebibytes(size)}: no batch is sent to it"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
