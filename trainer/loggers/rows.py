"""The table of epochs as it grows: which columns, how wide, which row is the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rich.text import Text

from trainer.loggers.base import improves
from trainer.loggers.wording import CLOCKWORK, HYPERPARAMETER, show, spoken

LEARNING_RATE = HYPERPARAMETER + "learning_rate"
GRADIENT_NORM = "train/gradient_norm"  # in metrics.jsonl and in curves.png; the screen has no room for it
GAP = "  "
MARK = " *"
NARROWEST_VALUE = 8


@dataclass(frozen=True)
class Column:
    """One column: a record's key under a heading of two lines."""

    key: str

    @property
    def heading(self) -> tuple[str, str]:
        """The heading's two lines."""
        if self.key == LEARNING_RATE:
            return "learning", "rate"
        namespace, _, name = self.key.rpartition("/")
        return namespace.rpartition("/")[2], spoken(name)

    @property
    def width(self) -> int:
        """Characters that the column takes."""
        if self.key in CLOCKWORK:
            return max(len(self.key), 6)
        return max(NARROWEST_VALUE, *map(len, self.heading))


class EpochTable:
    """Rows of equal columns, made one at a time.

    Parameters
    ----------
    monitor : str
        The key whose best row so far is marked.
    mode : str
        `min` or `max`.
    width : int, optional
        Characters there are: columns that do not fit are left out, the least wanted first. All fit without
        it.
    """

    def __init__(self, monitor: str, mode: str = "min", width: int | None = None) -> None:
        self.monitor = monitor
        self.mode = mode
        self.width = width
        self._keys: list[str] = []
        self._columns: list[Column] = []
        self._bests: list[tuple[float, float]] = []

    def lines(self, record: Mapping[str, float | None]) -> list[Text]:
        """Return a record's row, with the heading above it where the record brings new columns."""
        heading = self._heading() if self._adopt(record) else []
        return [*heading, self._row(record)]

    def remember(self, record: Mapping[str, float | None]) -> bool:
        """Count a row whether or not it is made; return whether it is the best so far."""
        value, best = record.get(self.monitor), self._bests[-1][1] if self._bests else None
        if value is None or not improves(value, best, self.mode):
            return False
        self._bests.append((record.get("step") or 0, value))
        return True

    def rewind(self, step: int) -> None:
        """Forget the rows of later steps."""
        self._bests = [best for best in self._bests if best[0] <= step]

    def _adopt(self, record: Mapping[str, float | None]) -> bool:
        new = [key for key in _wanted(record) if key not in self._keys]
        if not new:
            return False
        self._keys = sorted([*self._keys, *new], key=_place)
        self._columns = self._fitting(self._keys)
        return True

    def _fitting(self, keys: list[str]) -> list[Column]:
        if self.width is None:
            return [Column(key) for key in keys]
        room, kept = self.width - len(MARK) + len(GAP), set()
        for key in sorted(keys, key=self._rank):
            room -= Column(key).width + len(GAP)
            if room < 0:
                break
            kept.add(key)
        return [Column(key) for key in keys if key in kept]

    def _rank(self, key: str) -> int:
        wanted = ("epoch", self.monitor, "train/loss", "validation/", "", LEARNING_RATE, "seconds")
        exact = next((rank for rank, want in enumerate(wanted) if key == want), None)
        return exact if exact is not None else 3 if key.startswith("validation/") else 4

    def _heading(self) -> list[Text]:
        pairs = [(*column.heading, column.width) for column in self._columns]
        upper = GAP.join(group.rjust(width) for group, _, width in pairs)
        lower = GAP.join(name.rjust(width) for _, name, width in pairs)
        return [Text(line, "dim") for line in (upper.rstrip(), lower) if line]

    def _row(self, record: Mapping[str, float | None]) -> Text:
        best = self.remember(record)
        row = Text()
        for number, column in enumerate(self._columns):
            cell = show(column.key, record[column.key]) if column.key in record else "-"
            style = (
                "red"
                if cell in ("nan", "inf", "-inf")
                else "bold"
                if best and column.key == self.monitor
                else ""
            )
            row.append(GAP if number else "")
            row.append(cell.rjust(column.width), style)
        if best:
            row.append(MARK, "bold green")
        return row


def _wanted(record: Mapping[str, float | None]) -> Iterable[str]:
    counter = "epoch" if "epoch" in record else "step"
    for key in record:
        is_metric = not key.startswith(HYPERPARAMETER) and key not in (*CLOCKWORK, GRADIENT_NORM)
        if is_metric or key in (counter, "seconds", LEARNING_RATE):
            yield key


def _place(key: str) -> int:
    """Return where a column stands: counter, training, validation, the rest, learning rate, seconds."""
    order = ("train", "validation", "", HYPERPARAMETER.rstrip("/"))
    if key in CLOCKWORK:
        return len(order) + 1 if key == "seconds" else -1
    namespace = key.rpartition("/")[0]
    return order.index(namespace) if namespace in order else order.index("")
