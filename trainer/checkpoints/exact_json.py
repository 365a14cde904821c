"""JSON that brings back the same values, and a reader that no file can hang or crash."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

# An object of this one key is a float that JSON has no number for.
_FLOAT = "$float"
_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# The largest whole numbers of a state are those of random streams, of 128 bits; longer ones only cost time.
_MOST_DIGITS = 1000
_DEEPEST = 100


def to_exact_json(value: Any) -> str:
    """Write a value as strict JSON that `from_exact_json` reads back exactly.

    Parameters
    ----------
    value : object
        Nests of mappings with string keys, lists, strings, booleans, None, whole numbers and floats, NumPy's
        among them. NaN and the infinities become `{"$float": "nan"}`. Tuples come back as lists.

    Raises
    ------
    TypeError
        A value or a key of another type; the message says where.
    """
    return json.dumps(_encode(value, "values"), allow_nan=False, separators=(",", ":"))


def from_exact_json(text: bytes) -> Any:
    """Read what `to_exact_json` wrote.

    Raises
    ------
    ValueError
        What is not strict JSON in UTF-8: duplicate keys, NaN, numbers too large, nests too deep, half
        surrogates.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            parse_constant=_refuse,
            parse_float=_finite,
            parse_int=_whole,
            object_pairs_hook=_object,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except (RecursionError, MemoryError) as error:
        raise ValueError("is nested too deep, or too large") from error
    _check_depth(value)
    return value


def _encode(value: Any, place: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: str(value)}
    if isinstance(value, (list, tuple)):
        return [_encode(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _FLOAT:
                raise TypeError(f"{place} has the key {key!r}: JSON keeps strings, and {_FLOAT} is taken")
        return {key: _encode(item, f"{place}.{key}") for key, item in value.items()}
    raise TypeError(f"{place} is of type {type(value).__name__}, which a checkpoint's values cannot hold")


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_DEEPEST):
        nests = [item for item in level if isinstance(item, (dict, list))]
        if not nests:
            return
        level = [item for nest in nests for item in (nest.values() if isinstance(nest, dict) else nest)]
    raise ValueError(f"is nested deeper than {_DEEPEST}")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("names a key twice")
    if _FLOAT in result:
        word = result[_FLOAT]
        if len(result) != 1 or not isinstance(word, str) or word not in _WORDS:
            raise ValueError(f"uses {_FLOAT} for what is no float")
        return _WORDS[word]
    return result


def _refuse(word: str) -> Any:
    raise ValueError(f"has {word}, which is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("has a number too large for a float")
    return number


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"has a whole number of {len(digits)} digits")
    return int(digits)
