"""JSON that every parser reads: a number that is not finite becomes null."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_json(value: Any, indent: int | None = None) -> str:
    """Write a value as strict JSON (RFC 8259), keys in the order given.

    JSON has no NaN and no infinity, and the words that Python writes for them stop other parsers: both become
    null. A float is written with as many digits as bring the same float back, so equal numbers give equal
    text. NumPy's scalars and arrays become numbers and lists, paths become strings.

    Parameters
    ----------
    value : object
        Mappings, sequences, strings, numbers, paths, None, and nests of them.
    indent : int, optional
        Spaces a level; all on one line without it.

    Raises
    ------
    TypeError
        A value that JSON has no form for.

    Examples
    --------
    >>> to_json({"epoch": 1, "train/loss": float("nan")})
    '{"epoch": 1, "train/loss": null}'
    """
    return json.dumps(_strict(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _strict(value.tolist())
    return value
