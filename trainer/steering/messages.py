"""What a run and `trainer-steer` say to each other: requests, answers, the run's state; with checks."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from trainer.errors import UsageError, nearest
from trainer.ranges import ANY, range_of

COMMANDS = ("stop", "checkpoint", "pause", "continue")
CONFIGURATION, SCHEDULE, PERSON = SETTERS = ("configuration", "schedule", "person")
_STORAGE = {"float16": "<e", "float32": "<f", "float64": "<d"}
_LONGEST_TEXT = 4000
_LARGEST_COUNT = 10**15

T = TypeVar("T")


class Malformed(ValueError):
    """A file that is not what its name says."""


@dataclass(frozen=True)
class Request:
    """What a person wants of a run, all of it or nothing; an empty one asks for its present state.

    Attributes
    ----------
    values : mapping
        Hyperparameters to their new values.
    release : tuple of str
        Hyperparameters to hand back to the schedule or the configuration that set them before.
    command : str, optional
        One of `COMMANDS`, obeyed after the changes.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    release: tuple[str, ...] = ()
    command: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {"set": dict(self.values), "release": list(self.release), "command": self.command}

    @classmethod
    def parse(cls, content: Any) -> Request:
        """Check the content of a file.

        Raises
        ------
        Malformed
            Where a part is missing, unknown, or of the wrong type.
        """
        parts = _object(content, {"set", "release", "command"})
        values = _mapping(parts["set"], _number)
        command = _optional(parts["command"], _text)
        if command is not None and command not in COMMANDS:
            raise Malformed(f"there is no command {command}")
        return cls(values, tuple(_list(parts["release"], _text)), command)


@dataclass(frozen=True)
class Change:
    """A change of a hyperparameter, made by a person.

    Attributes
    ----------
    step : int
        The first update that was made with it, counted from 1.
    name : str
        The hyperparameter.
    old : float
        Its value before.
    new : float or None
        Its value since; None where it was released.
    """

    step: int
    name: str
    old: float
    new: float | None

    def as_json(self) -> dict[str, Any]:
        """Return a line of `history.jsonl`, or a part of a checkpoint's values."""
        return {"step": self.step, "name": self.name, "old": self.old, "new": self.new}

    @classmethod
    def parse(cls, content: Any) -> Change:
        """Check what `as_json` gave.

        Raises
        ------
        Malformed
            Where a part is missing, unknown, or of the wrong type.
        """
        parts = _object(content, {"step", "name", "old", "new"})
        new = _optional(parts["new"], _number)
        return cls(_count(parts["step"]), _text(parts["name"]), _number(parts["old"]), new)

    def __str__(self) -> str:
        if self.new is None:
            return f"{self.name} {_exact(self.old)} → released from step {self.step:,} on"
        return f"{self.name} {_exact(self.old)} → {_exact(self.new)} from step {self.step:,} on"


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes
    ----------
    step : int
        Updates done when it was read.
    changes : tuple of Change
        What changed.
    command : str, optional
        The command that was obeyed.
    checkpoint : str, optional
        What the command saved, as a path within the run's folder.
    refused : str, optional
        Why nothing was done.
    """

    step: int
    changes: tuple[Change, ...] = ()
    command: str | None = None
    checkpoint: str | None = None
    refused: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        changes = [change.as_json() for change in self.changes]
        return {**vars(self), "changes": changes}

    @classmethod
    def parse(cls, content: Any) -> Answer:
        """Check the content of a file.

        Raises
        ------
        Malformed
            Where a part is missing, unknown, or of the wrong type.
        """
        parts = _object(content, {"step", "changes", "command", "checkpoint", "refused"})
        texts = {key: _optional(parts[key], _text) for key in ("command", "checkpoint", "refused")}
        return cls(_count(parts["step"]), tuple(_list(parts["changes"], Change.parse)), **texts)

    def __str__(self) -> str:
        if self.refused is not None:
            return self.refused
        return "; ".join([*map(str, self.changes), *self._obeyed()])

    def _obeyed(self) -> list[str]:
        if self.command is None:
            return []
        if self.command == "continue":
            return [f"goes on after step {self.step:,}"]
        words = {"stop": "stops", "pause": "paused", "checkpoint": "saved"}[self.command]
        saved = f"checkpoint {self.checkpoint}" if self.checkpoint else "the checkpoint could not be written"
        return [f"{words} after step {self.step:,}, {saved}"]


@dataclass(frozen=True)
class Held:
    """A hyperparameter's value, and who set it: one of `SETTERS`."""

    value: float
    set_by: str

    @classmethod
    def parse(cls, content: Any) -> Held:
        """Check a part of the run's state.

        Raises
        ------
        Malformed
            Where a part is missing, unknown, or of the wrong type.
        """
        parts = _object(content, {"value", "set_by"})
        if parts["set_by"] not in SETTERS:
            raise Malformed("who set a hyperparameter is not known")
        return cls(_number(parts["value"]), parts["set_by"])


@dataclass(frozen=True)
class State:
    """A run as it shows itself to those who would steer it.

    Attributes
    ----------
    phase : str
        `compiling`, `training`, `evaluating`, `paused` or `done`.
    pid : int
        The run's process.
    step, steps : int
        Updates done and planned.
    epoch, epochs : int
        The epoch being trained, from 1, and how many are planned.
    precision : str
        The type that hyperparameters are kept in.
    hyperparameters : mapping
        Each by its name.
    """

    phase: str
    pid: int
    step: int
    steps: int
    epoch: int
    epochs: int
    precision: str
    hyperparameters: Mapping[str, Held]

    def as_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {**vars(self), "hyperparameters": {k: vars(held) for k, held in self.hyperparameters.items()}}

    @classmethod
    def parse(cls, content: Any) -> State:
        """Check the content of a file.

        Raises
        ------
        Malformed
            Where a part is missing, unknown, or of the wrong type.
        """
        counts = ("pid", "step", "steps", "epoch", "epochs")
        parts = _object(content, {"phase", "precision", "hyperparameters", *counts})
        if parts["precision"] not in _STORAGE:
            raise Malformed("its precision is not known")
        return cls(
            phase=_text(parts["phase"]),
            precision=parts["precision"],
            hyperparameters=_mapping(parts["hyperparameters"], Held.parse),
            **{name: _count(parts[name]) for name in counts},
        )


def check_request(request: Request, names: Collection[str], precision: str) -> None:
    """Refuse a request that the configuration's schema would refuse; its sender and the run both ask.

    Parameters
    ----------
    request : Request
        What is wanted.
    names : collection of str
        The run's hyperparameters.
    precision : str
        The type that they are kept in: a value must be in its range as that type, too.

    Raises
    ------
    UsageError
        For an unknown name and for a value that its name does not allow.
    """
    for name in (*request.values, *request.release):
        if name not in names:
            raise UsageError(f"the run has no hyperparameter {name}: {nearest(name, names)}")
        if name in request.values and name in request.release:
            raise UsageError(f"{name} cannot be set and released at once: do one after the other")
    for name, value in request.values.items():
        allowed = range_of(name.rpartition(".")[2]) or ANY
        if value not in allowed:
            raise UsageError(f"{name}={value} is out of range: give {allowed}")
        if _as_kept(value, precision) not in allowed:
            raise UsageError(f"{name}={value} is none in {precision}: give {allowed} that it can hold")


def _as_kept(value: float, precision: str) -> float:
    try:
        kept: float = struct.unpack(_STORAGE[precision], struct.pack(_STORAGE[precision], value))[0]
    except OverflowError:
        return math.inf
    return kept


def _exact(value: float) -> str:
    """Return a number as few digits as bring it back, without a needless `.0`."""
    return repr(value).removesuffix(".0")


def _object(content: Any, keys: Collection[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise Malformed("it is no JSON object")
    if set(content) != set(keys):
        raise Malformed(f"its keys are not {', '.join(sorted(keys))}")
    return content


def _mapping(content: Any, parse: Callable[[Any], T]) -> dict[str, T]:
    if not isinstance(content, dict):
        raise Malformed("a part that must be an object is none")
    return {_text(key): parse(value) for key, value in content.items()}


def _list(content: Any, parse: Callable[[Any], T]) -> list[T]:
    if not isinstance(content, list):
        raise Malformed("a part that must be a list is none")
    return [parse(item) for item in content]


def _optional(content: Any, parse: Callable[[Any], T]) -> T | None:
    return None if content is None else parse(content)


def _text(content: Any) -> str:
    # What is read is printed: an escape sequence could do as it likes with the terminal.
    if not isinstance(content, str) or not content.isprintable() or len(content) > _LONGEST_TEXT:
        raise Malformed("a part that must be a line of text is none")
    return content


def _number(content: Any) -> float:
    try:
        if isinstance(content, (int, float)) and not isinstance(content, bool) and math.isfinite(content):
            return float(content)
    except OverflowError:
        pass
    raise Malformed("a part that must be a finite number is none")


def _count(content: Any) -> int:
    if type(content) is not int or not 0 <= content <= _LARGEST_COUNT:
        raise Malformed("a part that must be a count is none")
    return content
