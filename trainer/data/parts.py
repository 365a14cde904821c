"""What a data source hands to the program: arrays in three parts, and what a network must know of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from trainer.errors import UsageError


@dataclass(frozen=True, eq=False)
class Part:
    """Examples: inputs and the targets that belong to them.

    Parameters
    ----------
    inputs : array, (examples, *input_shape)
        float32 in this program's own sources.
    targets : array, (examples,) or (examples, ...)
        Class numbers from 0 as whole numbers, or other targets as floats.

    Raises
    ------
    UsageError
        Where there are not as many inputs as targets.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise UsageError(
                f"data: {len(self.inputs)} inputs stand beside {len(self.targets)} targets; "
                "each example needs one of both"
            )

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set: a part to train on, one to choose by, one to report on.

    Parameters
    ----------
    train, validation, test : Part
        `train` is never empty. An empty `validation` means that the run watches its training loss instead; an
        empty `test` means that nothing is reported on a test set.
    input_shape : tuple of int
        The shape of one input, without the batch axis; images are (channels, rows, columns).
    outputs : int
        How many numbers a network must give for one example.
    classes : int or None
        How many classes the targets count, None where they are no classes.
    name : str
        What the set is called, for the log.

    Raises
    ------
    UsageError
        Where the training part is empty or a part's inputs have another shape than `input_shape`.
    """

    train: Part
    validation: Part
    test: Part
    input_shape: tuple[int, ...]
    outputs: int
    classes: int | None = None
    name: str = "data"

    def __post_init__(self) -> None:
        if not len(self.train):
            raise UsageError(f"data: the training part of {self.name} is empty; leave more examples to it")
        for label in ("train", "validation", "test"):
            shape = getattr(self, label).inputs.shape[1:]
            if shape != tuple(self.input_shape):
                raise UsageError(
                    f"data: the {label} inputs of {self.name} have the shape {shape}, "
                    f"but the set says {tuple(self.input_shape)}"
                )

    @property
    def description(self) -> str:
        """One line for the log: name, sizes of the parts, shape of an input, classes."""
        shape = " × ".join(str(length) for length in self.input_shape) or "scalar"
        kinds = f", {self.classes} classes" if self.classes is not None else ""
        return (
            f"{self.name}: {len(self.train):,} to train, {len(self.validation):,} to validate, "
            f"{len(self.test):,} to test; inputs {shape}{kinds}"
        )
