"""`metrics.csv`: a run's numbers as a table, for spreadsheets and programs that read no JSON Lines."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence

from trainer.loggers.appended import AppendedFile
from trainer.loggers.base import Logger, Plan
from trainer.loggers.json_lines import earlier_records

log = logging.getLogger(__name__)


class Csv(Logger):
    """Append each record to `metrics.csv` in the run's folder, as soon as it is known.

    The columns are the keys of the first record. A later record that brings new keys (a metric that is
    measured every other epoch) adds columns behind them, and the file is written anew, whole or not at all. A
    cell is empty where a record has no such key; numbers have all their digits, and those that are not finite
    are `nan`, `inf` and `-inf`. The dialect is that of RFC 4180: commas, quotes where needed, lines that end
    with CR LF.

    A resumed run goes on after the rows of the steps that it has, as `metrics.jsonl` has them, and a run that
    goes back to a checkpoint forgets those of later steps. Where the disk is full, rows wait in memory.
    """

    def __init__(self) -> None:
        self._file: AppendedFile | None = None
        self._columns: list[str] = []
        self._rows: list[Mapping[str, float | int | None]] = []

    def start(self, plan: Plan) -> None:
        """Open the file.

        Raises
        ------
        RunError
            The run's folder cannot be written.
        """
        for record in earlier_records(plan):
            self._keep(record)
        self._file = AppendedFile(plan.folder / "metrics.csv", self._whole())

    def record(self, record: Mapping[str, float | int]) -> None:
        """Write a row, after those that still wait."""
        if self._file is None:
            return
        known = len(self._columns)
        self._keep(record)
        if known == len(self._columns):
            self._file.append(self._text([self._cells(record)]))
        else:
            self._file.replace(self._whole())

    def rewind(self, step: int) -> None:
        """Forget the rows of later steps, and the columns that only they have."""
        kept = [row for row in self._rows if (row.get("step") or 0) <= step]
        self._columns, self._rows = [], []
        for row in kept:
            self._keep(row)
        if self._file is not None:
            self._file.replace(self._whole())

    def close(self) -> None:
        """Write what still waits, say what is lost, close the file."""
        lost = self._file.close() if self._file is not None else b""
        if lost:
            log.warning("metrics.csv lacks its last %d rows", lost.count(b"\r\n"))

    def _keep(self, record: Mapping[str, float | int | None]) -> None:
        self._columns += [key for key in record if key not in self._columns]
        self._rows.append(dict(record))

    def _whole(self) -> bytes:
        if not self._rows:
            return b""
        return self._text([self._columns, *map(self._cells, self._rows)])

    def _cells(self, record: Mapping[str, float | int | None]) -> list[str]:
        return [_cell(record[key]) if key in record else "" for key in self._columns]

    def _text(self, rows: Iterable[Sequence[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()


def _cell(value: float | int | None) -> str:
    # None is what metrics.jsonl has for all three that are not finite.
    if value is None:
        return "nan"
    return repr(value if isinstance(value, int) else float(value))
