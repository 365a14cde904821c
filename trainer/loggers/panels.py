"""What of a run's records is drawn together in `curves.png`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from trainer.loggers.base import improves
from trainer.loggers.wording import CLOCKWORK, HYPERPARAMETER, show

Record = Mapping[str, float | int | None]

PARTS = ("train", "validation", "test")
METRIC_HEIGHT, HYPERPARAMETER_HEIGHT = 3.0, 1.9  # inches


class Course:
    """A run's records as lines over its epochs."""

    def __init__(self, records: Sequence[Record], monitor: str, mode: str) -> None:
        self.records = records
        self.monitor = monitor
        self.x_key = _x_key(records)
        self.x = self.values(self.x_key)
        self.best: int | None = None
        least: float | None = None
        for number, record in enumerate(records):
            if improves(record.get(monitor), least, mode):
                least, self.best = record[monitor], number

    def values(self, key: str) -> list[float]:
        """Return a key's values, NaN where there is none or it is not finite."""
        values = [record.get(key) for record in self.records]
        return [float(value) if value is not None and math.isfinite(value) else math.nan for value in values]

    def first_broken(self, key: str) -> float | None:
        """Return where a recorded value is not finite for the first time."""
        places = zip(self.x, self.records, self.values(key), strict=True)
        return next((x for x, record, value in places if key in record and math.isnan(value)), None)


@dataclass
class Panel:
    """What shares a pair of axes: a metric's keys, or one hyperparameter."""

    name: str
    keys: list[str] = field(default_factory=list)
    is_hyperparameter: bool = False

    @property
    def height(self) -> float:
        """In inches."""
        return HYPERPARAMETER_HEIGHT if self.is_hyperparameter else METRIC_HEIGHT

    @property
    def has_legend(self) -> bool:
        """Whether its lines need more words than its title."""
        return not self.is_hyperparameter and self.keys != [self.name]

    @property
    def is_fraction(self) -> bool:
        """Whether its values are parts of one."""
        return self.name.endswith("accuracy")

    @property
    def may_be_logarithmic(self) -> bool:
        """Whether its values are amounts, whose ratios say something."""
        return not self.is_fraction and self.name != "r2"


def panels_of(course: Course) -> tuple[list[Panel], list[str]]:
    """Return the panels, loss first and hyperparameters last, and what never changes, in words."""
    metrics: dict[str, Panel] = {"loss": Panel("loss")}
    hyperparameters: list[Panel] = []
    constants: list[str] = []
    for key in dict.fromkeys(key for record in course.records for key in record if key not in CLOCKWORK):
        if not key.startswith(HYPERPARAMETER):
            name = key.rpartition("/")[2]
            metrics.setdefault(name, Panel(name)).keys.append(key)
            continue
        name, values = key[len(HYPERPARAMETER) :], course.values(key)
        if name == "learning_rate" or len(set(values)) > 1:
            hyperparameters.append(Panel(name, [key], is_hyperparameter=True))
        else:
            constants.append(f"{name} {show(key, values[0])}")
    for panel in metrics.values():
        panel.keys.sort(key=_order)
    hyperparameters.sort(key=lambda panel: panel.name != "learning_rate")
    return [panel for panel in (*metrics.values(), *hyperparameters) if panel.keys], constants


def _order(key: str) -> int:
    namespace = key.rpartition("/")[0]
    return [*PARTS, namespace].index(namespace)


def _x_key(records: Sequence[Record]) -> str:
    epochs = [record.get("epoch") for record in records]
    return "epoch" if None not in epochs and len(set(epochs)) == len(epochs) else "step"
