"""What a network must know of its data after the data is gone: `data.json` in a run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.parts import Data
from trainer.errors import UsageError

_LARGEST_SIZE = 2**40
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Facts:
    """The shapes and names that a run keeps of its data.

    Attributes
    ----------
    name : str
        What the set is called.
    input_shape : tuple of int
        The shape of one input, without the batch axis.
    outputs : int
        How many numbers the network gives for one example, or for one step of a sequence.
    input_dtype, classes, vocabulary, class_names, feature_names
        As in `Data`.
    """

    name: str
    input_shape: tuple[int, ...]
    outputs: int
    input_dtype: str | None = None
    classes: int | None = None
    vocabulary: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, data: Data, outputs: int) -> Facts:
        """Take the facts of data for which the objective wants so many outputs."""
        kept = {field.name: getattr(data, field.name) for field in fields(cls)}
        return cls(**{**kept, "outputs": outputs})

    @classmethod
    def read(cls, folder: Path) -> Facts:
        """Read the facts from a run's folder.

        Raises
        ------
        UsageError
            Where the file is missing or damaged.
        """
        path = folder / "data.json"
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            facts = cls(**{name: _as_tuple(value) for name, value in content.items()})
            facts._check()
            return facts
        except FileNotFoundError as error:
            raise UsageError(f"{path} is missing: {folder} is not the folder of a run that began") from error
        except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            raise UsageError(f"{path} is damaged ({reason}): restore it, or train the run anew") from error

    def as_json(self) -> dict[str, Any]:
        """Return the content of `data.json`."""
        return asdict(self)

    def _check(self) -> None:
        """Refuse facts that are none of any data."""
        sound = {
            "name": isinstance(self.name, str),
            "input_shape": isinstance(self.input_shape, tuple) and all(map(_is_size, self.input_shape)),
            "outputs": _is_size(self.outputs),
            "input_dtype": self.input_dtype is None or _is_numeric(self.input_dtype),
            "classes": self.classes is None or _is_size(self.classes),
            "vocabulary": _is_names(self.vocabulary),
            "class_names": _is_names(self.class_names),
            "feature_names": _is_names(self.feature_names),
        }
        for name, is_sound in sound.items():
            if not is_sound:
                raise ValueError(f"{name} cannot be {str(getattr(self, name))[:40]!r}")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < _LARGEST_SIZE


def _is_numeric(value: Any) -> bool:
    return isinstance(value, str) and np.dtype(value).kind in "biuf"


def _is_names(value: Any) -> bool:
    return value is None or (isinstance(value, tuple) and all(isinstance(name, str) for name in value))


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
