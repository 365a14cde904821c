"""What a data source hands to the program: arrays in three parts, and what a network must know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any

from numpy.typing import DTypeLike, NDArray

from trainer.data.batches import Augmentation, Batches
from trainer.data.rows import Rows, in_memory
from trainer.errors import UsageError


@dataclass(frozen=True, eq=False)
class Part:
    """Examples: inputs and the targets that belong to them.

    Parameters
    ----------
    inputs : array, (examples, *input_shape)
        float32 in most of this program's own sources. An array that is not in memory needs `shape`, `dtype`,
        and rows by number, by slice and by an array of places (`trainer.data.stored.StoredArray`).
    targets : array, (examples,) or (examples, ...)
        Class numbers from 0 as whole numbers, or other targets as floats.
    rows : array of int, optional
        The rows of `inputs` and `targets` that the part consists of, in this order; all where omitted. An
        array that is not in memory is not copied: its rows are taken when they are asked for.

    Raises
    ------
    UsageError
        Where there are not as many inputs as targets.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]
    rows: InitVar[NDArray[Any] | None] = None

    def __post_init__(self, rows: NDArray[Any] | None) -> None:
        if len(self.inputs) != len(self.targets):
            raise UsageError(
                f"data: {len(self.inputs)} inputs stand beside {len(self.targets)} targets; "
                "each example needs one of both"
            )
        if rows is not None:
            for name in ("inputs", "targets"):
                array = getattr(self, name)
                object.__setattr__(self, name, array[rows] if in_memory(array) else Rows(array, rows))

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
        augmentation: Sequence[Augmentation] | None = None,
        ahead: int | None = None,
    ) -> Batches:
        """Cut the part into batches; a part of another kind gives batches of its own here.

        The arguments are those of `trainer.data.batches.Batches`.
        """
        return Batches(self, batch_size, seed=seed, dtype=dtype, augmentation=augmentation, ahead=ahead)


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
    input_dtype : str, optional
        `int32` where inputs are the numbers of tokens; floatX where omitted.
    vocabulary : tuple of str, optional
        The tokens that such numbers stand for, by number.
    class_names, feature_names : tuples of str, optional
        For people: the classes by number, and the columns of a table.

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
    input_dtype: str | None = None
    vocabulary: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None

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
