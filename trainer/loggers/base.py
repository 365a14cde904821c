"""What every logger is told, and when."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LayerRow = tuple[str, Sequence[int | None], int]


@dataclass
class Progress:
    """How far a run is: written by the loop at each step, read by displays in their own time.

    Attributes
    ----------
    epochs : int
        Epochs planned.
    steps_per_epoch, examples_per_epoch : int
        Updates, and examples trained on, in one epoch.
    epoch : int
        The epoch being trained, from 1; 0 before the first.
    step : int
        Updates done since the run's beginning; above 0 at the start of a resumed run.
    examples : int
        Examples trained on since this process began to train.
    phase : str
        `compiling`, `training`, `evaluating` or `done`.
    started : float
        `time.monotonic()` when training began, in seconds; 0 until then.
    examples_per_step : int
        Examples of an update, but for the last one of an epoch.
    """

    epochs: int
    steps_per_epoch: int
    examples_per_epoch: int
    epoch: int = 0
    step: int = 0
    examples: int = 0
    phase: str = "compiling"
    started: float = 0.0
    examples_per_step: int = 0


@dataclass(frozen=True)
class Plan:
    """What a run is, as a logger needs to know it.

    Attributes
    ----------
    folder : Path
        The run's folder, which exists.
    title : str
        The run in a few words, such as `mlp on digits, adam`.
    progress : Progress
        The loop's own object: it goes on changing.
    monitor : str
        The record's key that decides which epoch is the best.
    mode : str
        `min` where a lower value of `monitor` is better, `max` where a higher one is.
    network : sequence of (str, shape, int)
        Each layer's name, output shape (None for the batch) and number of parameters; may be empty.
    pictures : callable
        From the test part's metrics to matplotlib figures, or functions that make them, by name.
    leads : callable
        From the run's summary to whether it is the best of its sweep so far; always true of no sweep's run.
    """

    folder: Path
    title: str
    progress: Progress
    monitor: str = "validation/loss"
    mode: str = "min"
    network: Sequence[LayerRow] = ()
    pictures: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda test: {}
    leads: Callable[[Mapping[str, Any]], bool] = lambda summary: True


class Logger:
    """A destination of a run's numbers; override what it needs.

    The loop calls `start` once, `record` at each record, `rewind` where the run goes back to a checkpoint,
    `finish` where the run has a summary, and always `close`, also after an error and where `start` was never
    reached. It never calls a logger at a step: what wants to follow the steps reads `Plan.progress` from a
    thread of its own.
    """

    def start(self, plan: Plan) -> None:
        """Get ready, before the network is compiled."""

    def record(self, record: Mapping[str, float | int]) -> None:
        """Take one record: `epoch`, `step`, `seconds`, `train/loss`, `hyperparameter/learning_rate`, ..."""

    def rewind(self, step: int) -> None:
        """Forget the records of later steps: the run went back to that one and takes them again."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Take the run's summary, the content of `summary.json`."""

    def close(self) -> None:
        """Let go of threads, files and the terminal; may be called twice."""


def improves(value: float | None, best: float | None, mode: str, min_delta: float = 0.0) -> bool:
    """Return whether a monitored value beats the best so far by more than `min_delta`.

    One that is missing or not finite never does.

    >>> improves(0.4, 0.5, "min"), improves(float("nan"), None, "min"), improves(0.4, 0.5, "min", 0.2)
    (True, False, False)
    """
    if value is None or not math.isfinite(value):
        return False
    if best is None:
        return True
    gain = value - best if mode == "max" else best - value
    return gain > min_delta
