"""What a network must know of its data after the data is gone: `data.json` in a run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from trainer.data.parts import Data
from trainer.errors import UsageError


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
            return cls(**{name: _as_tuple(value) for name, value in content.items()})
        except FileNotFoundError as error:
            raise UsageError(f"{path} is missing: {folder} is not the folder of a run that began") from error
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} is damaged ({error}): restore it, or train the run anew") from error

    def as_json(self) -> dict[str, Any]:
        """Return the content of `data.json`."""
        return asdict(self)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
