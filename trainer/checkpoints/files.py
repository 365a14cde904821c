"""One checkpoint: its folder written whole, and read with everything in it verified."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainer.checkpoints.exact_json import from_exact_json, to_exact_json
from trainer.checkpoints.tensors import Array, describe, read_tensors, write_tensors
from trainer.loggers.atomic import flush_folder, write_durably

VERSION = 1
TENSORS = "tensors.safetensors"
STATE = "state.json"

_SEAL = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n')
_SEAL_LENGTH = 78
_LARGEST_STATE = 2**28
_CHUNK = 2**22


class Damaged(Exception):
    """A checkpoint that cannot be trusted; the message says what is wrong with which file."""


@dataclass(frozen=True)
class State:
    """The state of a training.

    Attributes
    ----------
    tensors : mapping of str to array
        What is an array: parameters, the optimizer's state, random streams.
    values : mapping
        The rest, with string keys: what `to_exact_json` takes.
    """

    tensors: Mapping[str, Array]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read.

    Attributes
    ----------
    folder : Path
        Where it lies.
    step : int
        How many updates had been made.
    is_best : bool
        Whether the best epoch so far had just ended.
    state : State
        The state then.
    files : mapping of str to Path
        The run's weights files as they were then, by name.
    flaws : sequence of str
        What is wrong with those weights files that `files` lacks; the state is sound all the same.
    """

    folder: Path
    step: int
    is_best: bool
    state: State
    files: Mapping[str, Path]
    flaws: Sequence[str] = ()


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Array],
    values: str,
    *,
    step: int,
    is_best: bool,
    files: Sequence[Path] = (),
) -> None:
    """Write a checkpoint's files into a new folder and flush them and the folder to disk.

    Parameters
    ----------
    folder : Path
        Made here; the caller renames it, and deletes it where this fails.
    tensors : mapping of str to array
        The arrays of the state.
    values : str
        Its other values, as `to_exact_json` gave them.
    step : int
        How many updates were made.
    is_best : bool
        Whether the best epoch so far has just ended.
    files : sequence of Path
        What is linked beside, or copied where the file system has no hard links.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written.
    """
    folder.mkdir()
    arrays = {name: describe(name, array) for name, array in tensors.items()}
    digest = write_durably(folder / TENSORS, lambda file: write_tensors(file, tensors))
    beside = {path.name: _take_along(path, folder / path.name) for path in files}
    head = {
        "version": VERSION,
        "step": step,
        "is_best": is_best,
        "tensors": {"sha256": digest, "arrays": arrays},
        "files": beside,
    }
    body = f'{to_exact_json(head)[:-1]},"values":{values}'.encode()
    seal = f',"sha256":"{hashlib.sha256(body).hexdigest()}"}}\n'.encode()
    write_durably(folder / STATE, lambda file: (file.write(body), file.write(seal)))
    flush_folder(folder)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    Damaged
        Where anything in it is missing, changed, malformed or of an unknown version.
    """
    with _as_damage("is"):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise Damaged("is no folder")
    text = _read(folder / STATE, _LARGEST_STATE)
    with _as_damage(STATE):
        document = from_exact_json(text)
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise Damaged(f"{STATE} has no version")
    version = document["version"]
    if version not in READERS:
        known = ", ".join(str(number) for number in READERS)
        raise Damaged(
            f"{STATE} is of version {version}, and this program reads {known}: use the program that wrote it"
        )
    try:
        return READERS[version](folder, text, document)
    except (KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{STATE} lacks what version {version} has") from error


def read_is_best(folder: Path) -> bool:
    """Tell whether a checkpoint says that the best epoch had just ended; False where it cannot be read."""
    with contextlib.suppress(Damaged, ValueError):
        document = from_exact_json(_read(folder / STATE, _LARGEST_STATE))
        return isinstance(document, dict) and document.get("is_best") is True
    return False


def _read_version_1(folder: Path, text: bytes, document: dict[str, Any]) -> Checkpoint:
    seal = _SEAL.fullmatch(text[-_SEAL_LENGTH:])
    if seal is None or hashlib.sha256(text[:-_SEAL_LENGTH]).hexdigest().encode() != seal[1]:
        raise Damaged(f"{STATE} does not have its checksum")
    with _open(folder / TENSORS) as file:
        _check_digest(file, TENSORS, document["tensors"]["sha256"])
        with _as_damage(TENSORS):
            tensors = read_tensors(file)
    arrays = document["tensors"]["arrays"]
    if {name: describe(name, array) for name, array in tensors.items()} != arrays:
        raise Damaged(f"{TENSORS} does not hold the arrays that {STATE} lists")
    if not isinstance(document["values"], dict):
        raise Damaged(f"{STATE} has values that are no JSON object")
    files, flaws = _verify_files(folder, document["files"])
    return Checkpoint(
        folder=folder,
        step=document["step"],
        is_best=document["is_best"],
        state=State({name: tensors[name] for name in arrays}, document["values"]),
        files=files,
        flaws=flaws,
    )


READERS: dict[int, Callable[[Path, bytes, dict[str, Any]], Checkpoint]] = {1: _read_version_1}


def _verify_files(folder: Path, digests: Mapping[str, str]) -> tuple[dict[str, Path], list[str]]:
    files, flaws = {}, []
    for name, digest in digests.items():
        if Path(name).name != name:
            raise Damaged(f"{STATE} names a file outside: {name!r}")
        try:
            with _open(folder / name) as file:
                _check_digest(file, name, digest)
            files[name] = folder / name
        except Damaged as damage:
            flaws.append(str(damage))
    return files, flaws


def take_along(source: Path, target: Path) -> None:
    """Give a file a second name, or a durable copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EXDEV, errno.ENOSYS):
            raise
        with source.open("rb") as content:
            write_durably(target, lambda file: shutil.copyfileobj(content, file, _CHUNK))


def _take_along(source: Path, target: Path) -> str:
    take_along(source, target)
    with target.open("rb") as file:
        return _digest(file)


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _check_digest(file: BinaryIO, name: str, wanted: str) -> None:
    with _as_damage(name):
        if _digest(file) != wanted:
            raise Damaged(f"{name} does not have its checksum: it was truncated or changed")


def _read(path: Path, limit: int) -> bytes:
    with _open(path) as file, _as_damage(path.name):
        text = file.read(limit + 1)
    if len(text) > limit:
        raise Damaged(f"{path.name} is larger than {limit} bytes")
    return text


def _open(path: Path) -> BinaryIO:
    """Open an ordinary file: no link to elsewhere, and nothing that reading could wait for."""
    with _as_damage(path.name):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Damaged(f"{path.name} is no ordinary file")
        return os.fdopen(descriptor, "rb")


@contextlib.contextmanager
def _as_damage(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Damaged(f"{name} is missing") from error
    except OSError as error:
        reason = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read ({error.strerror})"
        raise Damaged(f"{name} {reason}") from error
    except ValueError as error:
        raise Damaged(f"{name} is not sound: {error}") from error
