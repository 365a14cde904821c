"""YAML of a run's folder, looked through before it is read: a damaged or made-up file must cost little."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from trainer.errors import UsageError

LARGEST = 2**22
DEEPEST = 50
LONGEST_REASON = 300

# libyaml's is ten times as fast, and not everywhere.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def checked_text(path: Path) -> str:
    """Return the text of a YAML file as Hydra writes them: without aliases, which can make much of little.

    Raises
    ------
    UsageError
        Where the file cannot be read, is no YAML, or takes more time or memory than its length lets one
        expect.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UsageError(f"{path} is damaged: it is larger than any configuration")
        text = path.read_text(encoding="utf-8")
        _check_events(text, path)
    except (OSError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise damaged(path, error) from error
    return text


def read_plain(path: Path) -> Any:
    """Read a YAML file as mappings, lists, strings and numbers; nothing in it is resolved or called.

    Raises
    ------
    UsageError
        As `checked_text` does.
    """
    text = checked_text(path)
    try:
        return yaml.load(text, Loader=_Loader)  # safe: either loader makes plain values alone
    except (yaml.YAMLError, ValueError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> UsageError:
    """Return the error that says why a file cannot be read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UsageError(f"{path} is damaged: {reason[:LONGEST_REASON]}")


def _check_events(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(f"{path} is damaged: it has YAML aliases, which no run writes")
        if isinstance(event, yaml.ScalarEvent) and not depth:
            raise UsageError(f"{path} is damaged: it holds neither a mapping nor a list")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UsageError(f"{path} is damaged: it nests deeper than {DEEPEST} levels")
