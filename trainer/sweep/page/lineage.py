"""A population's `population.json`, as far as it can be read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_lineage(folder: Path) -> list[dict[str, Any]] | None:
    """Read the generations of a population; None where the folder has none that can be read.

    Returns
    -------
    list of dict
        For each generation the `epoch` that it ends with, and its `members` in the order of their numbers:
        `score` (None where there is none), `parent` (whose state the member began the generation with, None
        for its own) and `hyperparameters`.
    """
    try:
        text = (folder / "population.json").read_bytes()
        content = json.loads(text, parse_constant=lambda name: None)
        count = int(content["members"])
        return [
            {
                "epoch": int(generation["epoch"]),
                "members": [_member(generation["members"][str(number)], count) for number in range(count)],
            }
            for generation in content["generations"]
        ] or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


def _member(noted: Mapping[str, Any], count: int) -> dict[str, Any]:
    score, parent = noted.get("score"), noted.get("parent")
    if parent is not None and int(parent) not in range(count):
        raise ValueError(f"there is no member {parent}")
    return {
        "score": float(score) if isinstance(score, (int, float)) and math.isfinite(score) else None,
        "parent": None if parent is None else int(parent),
        "hyperparameters": {str(name): value for name, value in noted["hyperparameters"].items()},
    }
