"""Values as something that can be compared: whether two configurations, or two objects, say the same."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Hashable, Mapping
from dataclasses import is_dataclass
from pathlib import PurePath
from types import FunctionType
from typing import Any

import numpy as np

from trainer.components import Component

DEEPEST = 20


def canonical(value: Any, depth: int = 0) -> Hashable:
    """Return what is equal for values that say the same, and only for those.

    Numbers of different types differ, since 1 and 1.0 give different expressions. Arrays go by their bytes,
    functions that were made within others by their code and what they hold, plain objects by their
    attributes. What cannot be looked into is equal to itself alone.

    >>> canonical({"hidden": [4, 8]}) == canonical({"hidden": (4, 8)}), canonical(1) == canonical(1.0)
    (True, False)
    """
    if depth > DEEPEST:
        return _Same(value)
    if value is None or isinstance(value, (bool, int, str, bytes, PurePath)):
        return type(value).__name__, value
    if isinstance(value, float):
        return "float", repr(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return _array(np.asarray(value))
    if isinstance(value, Mapping):
        return "mapping", tuple((key, canonical(value[key], depth + 1)) for key in sorted(value, key=str))
    if isinstance(value, (list, tuple)):
        return "list", tuple(canonical(element, depth + 1) for element in value)
    if isinstance(value, (Component, functools.partial, FunctionType)):
        return _callable(value, depth)
    return _object(value, depth)


class _Same:
    """Equal to another one of the very same object alone; holds it, so that no other gets its place."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


def _array(array: np.ndarray[Any, Any]) -> Hashable:
    if array.dtype.hasobject:
        return _Same(array)
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return "array", array.dtype.str, array.shape, content


def _callable(value: Any, depth: int) -> Hashable:
    def inner(part: Any) -> Hashable:
        return canonical(part, depth + 1)

    if isinstance(value, Component):
        return "component", inner(value.function), inner(value.arguments)
    if isinstance(value, functools.partial):
        return "partial", inner(value.func), inner(value.args), inner(value.keywords)
    if value.__closure__ is None and "<" not in value.__qualname__:
        return _Same(value)
    held = [cell.cell_contents for cell in value.__closure__ or ()]
    # Code of equal text may read other globals: those of its module.
    return (
        "function",
        value.__module__,
        value.__code__,
        inner([held, value.__defaults__, value.__kwdefaults__]),
    )


def _object(value: Any, depth: int) -> Hashable:
    kind = type(value)
    own_equality = getattr(kind, "__eq__", None) is not getattr(object, "__eq__", None)
    if own_equality and kind.__hash__ is not None and not is_dataclass(value):
        return kind, value
    attributes = getattr(value, "__dict__", None)
    if attributes is None or isinstance(value, type) or callable(value):
        return _Same(value)
    return "object", kind, canonical(attributes, depth + 1)
