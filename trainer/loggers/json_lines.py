"""`metrics.jsonl`: a run's numbers, one JSON object a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.errors import UsageError
from trainer.loggers.appended import AppendedFile
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
        self._file: AppendedFile | None = None

    def start(self, plan: Plan) -> None:
        """Open the file.

        Raises
        ------
        RunError
            The run's folder cannot be written.
        """
        path, content = plan.folder / "metrics.jsonl", b""
        if plan.progress.step and path.is_file():
            content = path.read_bytes()
            content = content[: _length_until(content, plan.progress.step, path)]
        self._file = AppendedFile(path, content)

    def record(self, record: Mapping[str, float | int]) -> None:
        """Write one line, after those that still wait."""
        if self._file is not None:
            self._file.append(to_json(record).encode() + b"\n")

    def rewind(self, step: int) -> None:
        """Cut off the records of later steps, those that wait too."""
        if self._file is not None:
            self._file.cut(_length_until(self._file.content, step, self._file.path))

    def close(self) -> None:
        """Write what still waits, say what is lost, close the file."""
        lost = self._file.close() if self._file is not None else b""
        if lost:
            log.warning("metrics.jsonl lacks its last %d records", lost.count(b"\n"))


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
