"""The files of a run's folder `steering/`: read as what a stranger may have written, written whole or not."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer.loggers.strict_json import to_json
from trainer.steering.messages import Malformed

FOLDER, STATE, HISTORY, REFUSED = "steering", "state.json", "history.jsonl", "refused"
_REQUEST = re.compile(r"request-(\d{1,15})-([0-9a-f]{16})\.json", re.ASCII)
_LARGEST_NUMBER = 10**15 - 1
_LARGEST_BYTES = 64 * 1024
_LARGEST_HISTORY = 64 * 1024 * 1024


def read_json(path: Path) -> Any:
    """Read a small JSON file, whatever stands at its place: nothing is followed, waited for or guessed.

    Raises
    ------
    Malformed
        For what is no regular file, is larger than 64 KiB, or is no strict JSON: NaN, infinities, keys that
        are there twice and nests without end are none.
    OSError
        Where it cannot be opened.
    """
    return _parse(_read(path, _LARGEST_BYTES))


def read_lines(path: Path) -> Iterator[Any]:
    """Read a file of one JSON object a line; a line that is none comes as None.

    Raises
    ------
    Malformed, OSError
        As `read_json` does; the file may be larger.
    """
    for line in _read(path, _LARGEST_HISTORY).splitlines():
        try:
            yield _parse(line)
        except Malformed:
            yield None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that a reader finds whole or not at all; a crash of the machine may lose it.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    # Not flushed to disk, which would hold a step for milliseconds: nothing of a run depends on it.
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.write(to_json(content).encode())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append a JSON object as one line, flushed to disk.

    Raises
    ------
    OSError
        The file cannot be written, or is none.
    """
    # A pipe that nobody reads would hold the run: with O_NONBLOCK it is an error.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        file.write(to_json(content).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def post(folder: Path, content: Mapping[str, Any]) -> str:
    """Put a request into the folder, to be read after those that are there, and return its token.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    numbers = [int(match[1]) for name in _names(folder) if (match := _REQUEST.fullmatch(name))]
    token = secrets.token_hex(8)
    number = min(max(numbers, default=0) + 1, _LARGEST_NUMBER)
    write_json(folder / f"request-{number:06}-{token}.json", content)
    return token


def answer_of(folder: Path, token: str) -> Path:
    """Return where the answer to a request will stand."""
    return folder / f"answer-{token}.json"


def requests(folder: Path) -> list[tuple[str, str | None]]:
    """Return the names of the requests that wait, in the order of their numbers, each with its token.

    One that has no token has a name that no request has.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    names = [name for name in _names(folder) if name.startswith("request-")]
    matched = [(_REQUEST.fullmatch(name), name) for name in names]
    rightly = sorted((int(match[1]), match[2], name) for match, name in matched if match)
    return [(name, token) for _, token, name in rightly] + [(name, None) for m, name in matched if not m]


def set_aside(folder: Path, name: str) -> bool:
    """Move what stands in the folder to `refused/`, unread; return whether that could be done."""
    aside = folder / REFUSED
    try:
        aside.mkdir(exist_ok=True)
        target = aside / name
        if os.path.lexists(target):
            target = aside / f"{name[:200]}.{secrets.token_hex(4)}"
        os.rename(folder / name, target)  # noqa: PTH104 (Path.rename is the same, for a symlink too)
    except OSError:
        return False
    return True


def clear(folder: Path, *, forget: bool) -> None:
    """Remove what an earlier life of the run left: answers, unfinished files, and all requests to `forget`.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    for name in _names(folder):
        is_left = name.startswith("answer-") or (name.startswith(".") and name.endswith(".part"))
        if is_left or (forget and (name == HISTORY or _REQUEST.fullmatch(name))):
            try:
                (folder / name).unlink()
            except OSError:
                continue


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def _read(path: Path, largest: int) -> bytes:
    # O_NONBLOCK: opening a pipe that nobody writes would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", closefd=True) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Malformed("it is no regular file")
        content = file.read(largest + 1)
    if len(content) > largest:
        raise Malformed(f"it is larger than {largest // 1024} KiB")
    return content


def _parse(content: bytes) -> Any:
    try:
        return json.loads(content.decode(), parse_constant=_refuse, object_pairs_hook=_unique)
    except RecursionError:
        raise Malformed("it nests too deeply") from None
    except ValueError as error:
        raise Malformed(f"it is no JSON ({error})") from None


def _refuse(word: str) -> Any:
    raise Malformed(f"{word} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Malformed("a key is there twice")
    return dict(pairs)
