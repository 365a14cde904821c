"""Whether a value from YAML fits a Python annotation, and how to say an annotation in words."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

_SEQUENCES = (list, tuple, Sequence, Iterable)
_MAPPINGS = (dict, Mapping)
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Path: "a path",
    type(None): "null",
}


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a YAML value may be passed where the annotation stands.

    A whole number fits `float`; an annotation that YAML has no notion of fits nothing but is not asked for
    by any of ours, so it is taken as `Any`.

    >>> fits(1, float), fits(0.5, int), fits([1, 2], list[int] | None)
    (True, False, True)
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is Literal:
        return value in arguments
    if origin in _SEQUENCES:
        element = arguments[0] if arguments else Any
        return isinstance(value, list) and all(fits(item, element) for item in value)
    if origin in _MAPPINGS:
        element = arguments[1] if arguments else Any
        return isinstance(value, dict) and all(fits(item, element) for item in value.values())
    if annotation is bool or isinstance(value, bool):
        return isinstance(value, bool) and annotation in (bool, Any)
    if annotation is float:
        return isinstance(value, (int, float))
    if annotation is Path:
        return isinstance(value, str)
    if annotation in (int, str, type(None), list, dict):
        return isinstance(value, annotation)
    return True


def describe(annotation: Any) -> str:
    """Say in words what an annotation allows.

    >>> describe(list[int] | None)
    'a list (each a whole number) or null'
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(choice) for choice in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if origin in _SEQUENCES:
        return f"a list (each {describe(arguments[0])})" if arguments else "a list"
    if origin in _MAPPINGS:
        return f"a mapping (each value {describe(arguments[1])})" if arguments else "a mapping"
    return _WORDS.get(annotation, str(getattr(annotation, "__name__", annotation)))
