"""`metrics.jsonl`: a run's numbers, one JSON object a line."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import RunError, UsageError
from trainer.loggers.base import Logger, Plan
from trainer.loggers.strict_json import to_json

log = logging.getLogger(__name__)


class JsonLines(Logger):
    """Append each record to `metrics.jsonl` in the run's folder, as soon as it is known.

    The lines are strict JSON in UTF-8: keys in the record's order, floats with all their digits (equal runs
    give equal text, `seconds` aside), null for NaN and the infinities. The file begins anew, except in a
    resumed run (`progress.step` above 0), which goes on after the records of the steps that it has: those of
    later steps, which are taken again, are cut off first, so that each step stands there once.

    Where a line cannot be written (a full disk), the run goes on: one warning, and the line waits in memory
    until there is room again. A file that was deleted is written anew, with all its records.
    """

    def __init__(self) -> None:
        self._path = Path()
        self._file: io.FileIO | None = None
        self._content = bytearray()
        self._written = 0
        self._warned = False

    def start(self, plan: Plan) -> None:
        """Open the file.

        Raises
        ------
        RunError
            The run's folder cannot be written.
        """
        self._path = plan.folder / "metrics.jsonl"
        try:
            # Unbuffered: a line that write() has taken is with the system, and survives the process.
            self._file = io.FileIO(self._path, "a")
            if plan.progress.step:
                self._content += self._path.read_bytes()
                self._written = len(self._content)
            self.rewind(plan.progress.step)
            os.truncate(self._path, self._written)
        except OSError as error:
            cure = "make the folder writable, or choose another with hydra.run.dir"
            raise RunError(f"{self._path} cannot be written ({error.strerror}): {cure}") from error

    def record(self, record: Mapping[str, float | int]) -> None:
        """Write one line, after those that still wait."""
        self._content += to_json(record).encode() + b"\n"
        self._write()

    def rewind(self, step: int) -> None:
        """Cut off the records of later steps, those that wait too."""
        if self._file is None:
            return
        del self._content[_length_until(bytes(self._content), step, self._path) :]
        if self._written > len(self._content):
            self._written = len(self._content)
            os.truncate(self._file.fileno(), self._written)

    def close(self) -> None:
        """Write what still waits, say what is lost, close the file."""
        if self._file is None:
            return
        self._write()
        if self._written < len(self._content):
            lost = self._content.count(b"\n", self._written)
            log.warning("metrics.jsonl lacks its last %d records", lost)
        self._file.close()
        self._file = None

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            if not os.fstat(self._file.fileno()).st_nlink:
                deleted, self._file = self._file, io.FileIO(self._path, "a")
                deleted.close()
                self._written = 0
            while self._written < len(self._content):
                # A full disk may take a part of a line: the rest follows it when there is room.
                self._written += self._file.write(self._content[self._written :])
        except OSError as error:
            if not self._warned:
                log.warning("metrics.jsonl cannot be written (%s); its lines wait in memory", error.strerror)
            self._warned = True
            return
        if self._warned:
            log.info("metrics.jsonl can be written again and is complete")
            self._warned = False


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the records of a `metrics.jsonl`, null (a number that was not finite) as None.

    A last line without its end, which a killed run may leave, is not counted.

    Raises
    ------
    UsageError
        A line that is no JSON object; a file that is not there.
    """
    try:
        *lines, _ = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): name a run's folder") from error
    return [_parse(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def earlier_records(plan: Plan) -> list[dict[str, Any]]:
    """Return the records of a resumed run's earlier life up to where it goes on; none in a new run.

    Raises
    ------
    UsageError
        As `read_records` does.
    """
    path, step = plan.folder / "metrics.jsonl", plan.progress.step
    if not step or not path.exists():
        return []
    return [record for record in read_records(path) if (record.get("step") or 0) <= step]


def _length_until(content: bytes, step: int, path: Path) -> int:
    """Return how many bytes the whole lines have that stand before the first record of a later step."""
    length = 0
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        of_step = _parse(line, f"{path}, line {number}").get("step")
        if isinstance(of_step, (int, float)) and of_step > step:
            break
        length += len(line) + 1
    return length


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place} is damaged ({error}): restore the file or delete the line") from error
    if not isinstance(record, dict):
        raise UsageError(f"{place} is no JSON object: restore the file or delete the line")
    return record
