"""The files of a run's folder, read as far as they can be: what is damaged is empty."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.checked_yaml import read_plain
from trainer.errors import UsageError

_LOG_LINE = re.compile(r"^\d{4}-\S+ \S+ ([A-Z]+) +[\w.]+: (.*)$", re.MULTILINE)
_LOG_TAIL = 2**16
_LARGEST_SUMMARY = 2**26


def log_lines(folder: Path) -> list[tuple[str, str]]:
    """Return the levels and the first lines of the newest log records."""
    try:
        with (folder / "train.log").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LOG_TAIL))
            tail = file.read(_LOG_TAIL).decode("utf-8", "replace")
    except OSError:
        return []
    return [(level, text.strip()) for level, text in _LOG_LINE.findall(tail)]


def read_overrides(folder: Path) -> list[str]:
    """Return the overrides that a run was given."""
    with contextlib.suppress(UsageError):
        content = read_plain(folder / ".hydra" / "overrides.yaml")
        if isinstance(content, list):
            return [str(item) for item in content]
    return []


def config_folder(folder: Path) -> Sequence[str]:
    """Return the words that name a folder of configurations of the user's own, where there was one."""
    path = folder / ".hydra" / "hydra.yaml"
    with contextlib.suppress(UsageError, OSError, AttributeError, TypeError, KeyError):
        # Looked for in the text first: reading a thousand of these files takes a while.
        if "provider: command-line" in path.read_text(encoding="utf-8", errors="replace"):
            for source in read_plain(path)["hydra"]["runtime"]["config_sources"]:
                if source["provider"] == "command-line":
                    return ["--config-dir", str(source["path"])]
    return []


def read_object(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; empty where that is no object."""
    try:
        if path.stat().st_size <= _LARGEST_SUMMARY:
            return parse_object(path.read_bytes())
    except OSError:
        pass
    return {}


def parse_object(text: bytes) -> dict[str, Any]:
    """Return a JSON object, None for its numbers that are not finite; empty where it is none."""
    try:
        content = json.loads(text, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def leaves(node: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a nested mapping by their dotted keys; lists are values."""
    for key, below in node.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(below, Mapping) and below:
            yield from leaves(below, where)
        else:
            yield where, below
