"""Answers of slow probes, kept in the compile cache under all that they depend on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def stamp(*paths: str | Path) -> list[list[Any]]:
    """Describe files or folders so that another description means that they changed."""
    stamps: list[list[Any]] = []
    for path in paths:
        try:
            status = Path(path).stat()
        except OSError:
            stamps.append([str(path), None])
        else:
            stamps.append([os.path.realpath(path), status.st_mtime_ns, status.st_size])
    return stamps


def digest(key: Any, length: int = 16) -> str:
    """Return a short name for a key that JSON can hold."""
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:length]


def remember(cache: Path, subject: str, key: Any, probe: Callable[[], Any]) -> Any:
    """Return the answer that an earlier process found, or probe and keep it.

    Parameters
    ----------
    cache : Path
        The compile cache's folder.
    subject : str
        What the answer is about; the file's name begins with it.
    key
        All that the answer depends on, as JSON can hold it: a change means a new probe.
    probe : callable
        Gives the answer, as JSON can hold it. Where it raises, nothing is kept.
    """
    file = cache / "probes" / f"{subject}-{digest(key)}.json"
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        answer = probe()
    # A cache that fills up or is swept away by another process costs a probe at the next start, no more.
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(answer))
        partial.replace(file)
    return answer
