"""`metrics.jsonl`: a run's numbers, one JSON object a line."""

from __future__ import annotations

import io
import json
import logging
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
    resumed run (`progress.step` above 0), which appends.

    Where a line cannot be written (a full disk), the run goes on: one warning, and the line waits in memory
    until there is room again.
    """

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._waiting = b""
        self._warned = False

    def start(self, plan: Plan) -> None:
        """Open the file.

        Raises
        ------
        RunError
            The run's folder cannot be written.
        """
        path = plan.folder / "metrics.jsonl"
        try:
            # Unbuffered: a line that write() has taken is with the system, and survives the process.
            self._file = io.FileIO(path, "a" if plan.progress.step else "w")
        except OSError as error:
            cure = "make the folder writable, or choose another with hydra.run.dir"
            raise RunError(f"{path} cannot be written ({error.strerror}): {cure}") from error

    def record(self, record: Mapping[str, float | int]) -> None:
        """Write one line, after those that still wait."""
        self._waiting += to_json(record).encode() + b"\n"
        self._write()

    def close(self) -> None:
        """Write what still waits, say what is lost, close the file."""
        if self._file is None:
            return
        self._write()
        if self._waiting:
            log.warning("metrics.jsonl lacks its last %d records", self._waiting.count(b"\n"))
        self._file.close()
        self._file = None

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            while self._waiting:
                # A full disk may take a part of a line: the rest follows it when there is room.
                self._waiting = self._waiting[self._file.write(self._waiting) :]
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


def _parse(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UsageError(f"{place} is damaged ({error}): restore the file or delete the line") from error
    if not isinstance(record, dict):
        raise UsageError(f"{place} is no JSON object: restore the file or delete the line")
    return record
