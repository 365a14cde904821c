"""Data sets that are arrays in an npz file, as NumPy's `savez` writes it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.columns import Column
from trainer.data.parts import Data, Part
from trainer.data.splits import Split
from trainer.data.targets import Targets, Task, read_more_targets, read_targets
from trainer.errors import UsageError, nearest

_UNSOUND = (
    ValueError,
    EOFError,
    KeyError,
    SyntaxError,
    NotImplementedError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


def npz(
    file: str,
    inputs: str = "inputs",
    targets: str = "targets",
    validation_inputs: str | None = None,
    validation_targets: str | None = None,
    test_inputs: str | None = None,
    test_targets: str | None = None,
    shape: list[int] | None = None,
    scale: float = 1.0,
    task: Task = "auto",
    validation_fraction: float = 0.15,
    test_fraction: float = 0.15,
    seed: int = 1,
) -> Data:
    """Read arrays from an npz file.

    Inputs become float32, multiplied by `scale`. Targets of one number or text an example are classes or
    values (`task`); those of several numbers an example are values, float32.

    Parameters
    ----------
    file : str
        The file, relative to the folder in which the command runs. It is read whole.
    inputs, targets : str, default "inputs" and "targets"
        The names of the arrays: (examples, ...) and (examples,) or (examples, ...).
    validation_inputs, validation_targets, test_inputs, test_targets : str, optional
        The names of the other parts' arrays, where the file holds some; the part is then not split off.
    shape : list of int, optional
        Of one input, [1, 28, 28] for grey images that are kept as rows; as in the file where omitted.
    scale : float, default 1.0
        What inputs are multiplied by, 0.003921569 to bring bytes to the range from 0 to 1.
    task : {"auto", "classes", "values"}, default "auto"
        Whether targets are classes or values. `auto`: texts and whole numbers are classes, other numbers
        values. Classes are numbered in sorted order.
    validation_fraction, test_fraction : float, default 0.15
        The share of the examples of `inputs` that the part takes: at least 0, together below 1.
    seed : int, default 1
        The seed of the split.

    Raises
    ------
    UsageError
        Where the file cannot be read or is damaged, lacks an array, or holds something that is not finite
        numbers (objects are never unpickled); with the file and the place in the array.
    """
    archive = _Archive(Path(file).expanduser())
    values = archive.inputs(inputs, shape, scale)
    found = archive.targets(targets, len(values), inputs, task)
    more = (
        _more(archive, "validation", validation_inputs, validation_targets, shape, scale, found),
        _more(archive, "test", test_inputs, test_targets, shape, scale, found),
    )
    split = Split(validation_fraction, test_fraction, seed)
    places = split.places(found.values, found.classes, validation=more[0] is None, test=more[1] is None)
    train, validation, test = (Part(values[rows], found.values[rows]) for rows in places)
    return Data(
        train,
        more[0] or validation,
        more[1] or test,
        input_shape=values.shape[1:],
        outputs=found.outputs,
        classes=found.classes,
        name=file,
        class_names=found.class_names,
    )


def _more(
    archive: _Archive,
    part: str,
    inputs: str | None,
    targets: str | None,
    shape: list[int] | None,
    scale: float,
    training: Targets,
) -> Part | None:
    if inputs is None and targets is None:
        return None
    if inputs is None or targets is None:
        raise UsageError(f"data.{part}_inputs and data.{part}_targets belong together; give both or neither")
    values = archive.inputs(inputs, shape, scale)
    return Part(values, archive.targets(targets, len(values), inputs, "auto", training).values)


class _Archive:
    """The arrays of an npz file, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def inputs(self, name: str, shape: list[int] | None, scale: float) -> NDArray[np.float32]:
        array = self._array(name)
        if array.dtype.kind not in "biuf" or array.ndim < 1:
            raise UsageError(
                f"{self.path}: {name} holds {array.dtype} of the shape {array.shape}; numbers of the shape "
                "(examples, ...) belong here"
            )
        if not len(array):
            raise UsageError(f"{self.path}: {name} is empty; give at least one example")
        # Values beyond float32 become infinite, and are refused as such.
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
            values *= np.float32(scale)
        self._refuse_infinite(name, values, array)
        return values if shape is None else self._shaped(name, values, shape)

    def targets(
        self, name: str, length: int, inputs: str, task: Task, training: Targets | None = None
    ) -> Targets:
        array = self._array(name)
        if array.ndim < 1 or len(array) != length:
            raise UsageError(
                f"{self.path}: {name} has the shape {array.shape}, but {inputs} has {length:,} examples; "
                "each needs one target"
            )
        if training is not None and array.shape[1:] != training.values.shape[1:]:
            raise UsageError(
                f"{self.path}: {name} has the shape {array.shape}, but an example of the training part has "
                f"targets of the shape {training.values.shape[1:]}"
            )
        if array.ndim == 1:
            column = Column(self._values(name, array), lambda row: f"{self.path}: {name}[{row}]")
            return read_targets(column, task) if training is None else read_more_targets(column, training)
        if array.dtype.kind not in "biuf" or task == "classes":
            raise UsageError(
                f"{self.path}: {name} holds {array.dtype} of the shape {array.shape}; classes are one whole "
                "number or text an example, and several targets an example are numbers"
            )
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
        self._refuse_infinite(name, values, array)
        return Targets(values)

    def _array(self, name: str) -> NDArray[Any]:
        try:
            if not zipfile.is_zipfile(self.path):
                self.path.open("rb").close()
                raise UsageError(
                    f"{self.path}: is no npz file, or is cut short; write it by numpy.savez (a single array, "
                    "npy, is read by data=npy)"
                )
            with np.load(self.path, allow_pickle=False) as archive:
                if name not in archive.files:
                    raise UsageError(f"{self.path}: has no array {name!r}: {nearest(name, archive.files)}")
                array = archive[name]
                if not isinstance(array, np.ndarray):
                    raise UsageError(f"{self.path}: {name} is no array of NumPy's; write the file anew")
                return array
        except _UNSOUND as error:
            raise UsageError(f"{self.path}: {name} cannot be read ({error}); write the file anew") from error
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read ({error.strerror or error})") from error

    def _values(self, name: str, array: NDArray[Any]) -> NDArray[Any] | list[str | None]:
        if array.dtype.kind in "biuf":
            return array.astype(np.float64)
        if array.dtype.kind in "US":
            return [str(text) for text in array.astype(str)]
        raise UsageError(f"{self.path}: {name} holds {array.dtype}; numbers or texts belong here")

    def _refuse_infinite(self, name: str, values: NDArray[Any], array: NDArray[Any]) -> None:
        if np.isfinite(values).all():
            return
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(values))[0])
        raise UsageError(
            f"{self.path}: {name}{list(place)} is {array[place]:g}, not a finite number of float32; mend it "
            "or leave its example out"
        )

    def _shaped(self, name: str, values: NDArray[Any], shape: list[int]) -> NDArray[Any]:
        if values[0].size != np.prod(shape, dtype=int) or min(shape, default=1) < 1:
            raise UsageError(
                f"data.shape={shape} does not fit {self.path}: an input of {name} has the shape "
                f"{values.shape[1:]}, {values[0].size:,} numbers"
            )
        return values.reshape(len(values), *shape)
