"""One sweep of the learning rate over the compiled step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trainer.errors import RunError, UsageError
from trainer.finder.suggestion import suggest
from trainer.kernels.finite import NonFinite
from trainer.settings import FindLearningRate

FEWEST_STEPS = 50  # with fewer, losses of noise alone suggest a rate more often than once in a hundred


class Sweepable(Protocol):
    """The hyperparameters as the sweep needs them: see `trainer.hyperparameters`."""

    def __getitem__(self, name: str) -> Any: ...

    def pin(self, name: str, value: float) -> None:
        """Set a value that schedules leave alone."""

    def advance(self, step: int, steps_per_epoch: float, total_steps: int) -> None:
        """Set what is scheduled."""

    def state(self) -> Any:
        """Return all that is to be restored: values, and which of them are pinned."""

    def load_state(self, state: Any) -> None:
        """Restore it."""


class Batches(Protocol):
    """What is trained on: see `trainer.data.Batches`."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Any:
        """Return the batches of an epoch."""


@dataclass(frozen=True)
class Finding:
    """What a sweep found.

    Attributes
    ----------
    rates, losses : tuple of float
        The learning rate of each update, and the loss before it; finite all.
    smoothed : tuple of float
        The losses' exponential average.
    suggestion : float or None
        A learning rate, to two digits; None where none can be told.
    reason : str
        Why that one, or what to try.
    ended : str
        `completed`; `rose`, where the averaged loss went too far above its lowest; `not_finite`.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    reason: str
    ended: str


def check(settings: FindLearningRate) -> None:
    """Refuse settings that contradict each other.

    Raises
    ------
    UsageError
        With the key, the value and the cure.
    """
    if not 0 < settings.low < settings.high < math.inf:
        raise UsageError(
            f"find_learning_rate.low={settings.low:g} must lie above 0 and below "
            f"find_learning_rate.high={settings.high:g}: give a range of a few powers of ten"
        )
    if settings.steps < FEWEST_STEPS:
        raise UsageError(
            f"find_learning_rate.steps={settings.steps} are too few to see the loss fall: "
            f"give at least {FEWEST_STEPS}"
        )
    if not 0 <= settings.smoothing < 1:
        raise UsageError(
            f"find_learning_rate.smoothing={settings.smoothing:g} is out of range: "
            "give a number of at least 0 and below 1"
        )
    if not settings.stop_factor > 1:
        raise UsageError(f"find_learning_rate.stop_factor={settings.stop_factor:g} must be above 1: give 4")


def find_learning_rate(
    step: Callable[[Any, Any], Any],
    batches: Batches,
    hyperparameters: Sweepable,
    restore: Callable[[], None],
    *,
    name: str = "learning_rate",
    low: float = 1e-7,
    high: float = 10.0,
    steps: int = 200,
    smoothing: float = 0.9,
    stop_factor: float = 4.0,
    accumulation: int = 1,
    on_epoch_start: Callable[[], None] = lambda: None,
) -> Finding:
    """Train while the learning rate grows exponentially, and suggest a rate from the losses.

    Update k of n, counted from 0, has the rate ``low * (high / low) ** (k / (n - 1))``. With the loss lₖ
    before that update, the smoothed loss is the exponential average, freed of its start at 0:

        sₖ = smoothing·sₖ₋₁ + (1 − smoothing)·lₖ,  smoothedₖ = sₖ / (1 − smoothing^(k+1))

    The sweep ends after n updates, where the smoothed loss is above `stop_factor` times its lowest, or where
    a loss is not finite. Other schedules stay at their beginning. `trainer.finder.suggest` tells how the rate
    is chosen.

    Parameters
    ----------
    step : callable
        The compiled training step: a batch's arrays to its loss, or to a sequence that begins with it. It may
        raise `trainer.kernels.finite.NonFinite`.
    batches : Batches
        The training part; as many epochs as it takes.
    hyperparameters : Hyperparameters
        Of the step. They are what they were afterwards, also after an error.
    restore : callable
        Gives parameters, states and random streams back what they were before; called in any case.
    name : str, default "learning_rate"
        The hyperparameter to sweep.
    low, high : float, default 1e-7 and 10
        The first rate and the last, above 0.
    steps : int, default 200
        Updates at most, at least 50.
    smoothing : float, default 0.9
        Of the average, at least 0 and below 1.
    stop_factor : float, default 4
        Above 1.
    accumulation : int, default 1
        Batches an update; all but the last go to ``step.gather``.
    on_epoch_start : callable, optional
        Called before each epoch.

    Returns
    -------
    Finding
        The sweep and the suggestion.

    Raises
    ------
    UsageError
        Where the rule has no such hyperparameter, or the settings contradict each other.
    RunError
        Where the first loss is not finite already.
    """
    settings = FindLearningRate(low, high, steps, smoothing, stop_factor)
    check(settings)
    hyperparameters[name]
    before = hyperparameters.state()
    try:
        hyperparameters.advance(0, max(len(batches) // accumulation, 1), steps)
        updates = _updates(step, batches, accumulation, on_epoch_start)
        losses, ended = _sweep(updates, lambda rate: hyperparameters.pin(name, rate), settings)
    finally:
        hyperparameters.load_state(before)
        restore()
    if not losses:
        raise RunError(
            "the loss is not finite before the first update: look for numbers in the data that are huge or "
            "not finite, or choose data.normalization=standard"
        )
    rates = _rates(settings)[: len(losses)]
    smoothed = smooth(losses, smoothing)
    suggestion, reason = suggest(rates, losses, smoothed, smoothing, ended)
    return Finding(tuple(rates), tuple(losses), tuple(smoothed), suggestion, reason, ended)


def smooth(losses: Sequence[float], smoothing: float) -> list[float]:
    """Return the exponential average of losses, freed of its start at 0.

    >>> [round(value, 3) for value in smooth([1.0, 3.0, 3.0], smoothing=0.5)]
    [1.0, 2.333, 2.714]
    """
    total, smoothed = 0.0, []
    for count, loss in enumerate(losses, start=1):
        total = smoothing * total + (1 - smoothing) * loss
        smoothed.append(total / (1 - smoothing**count))
    return smoothed


def _rates(settings: FindLearningRate) -> list[float]:
    return [float(rate) for rate in np.geomspace(settings.low, settings.high, settings.steps)]


def _updates(
    step: Any, batches: Batches, accumulation: int, on_epoch_start: Callable[[], None]
) -> Iterator[Callable[[], float]]:
    """Give one callable an update, without end; each makes its update and returns the loss."""

    def update(group: Sequence[Any]) -> float:
        for batch in group[:-1]:
            step.gather(*batch)
        result = step(*group[-1])
        return float(result[0] if isinstance(result, (tuple, list)) else result)

    for number in itertools.count(1):
        on_epoch_start()
        remaining = iter(batches.epoch(number))
        while group := list(itertools.islice(remaining, accumulation)):
            yield lambda group=group: update(group)  # type: ignore[misc]


def _sweep(
    updates: Iterator[Callable[[], float]], set_rate: Callable[[float], None], settings: FindLearningRate
) -> tuple[list[float], str]:
    losses: list[float] = []
    total, lowest = 0.0, math.inf
    for rate, update in zip(_rates(settings), updates, strict=False):
        set_rate(rate)
        try:
            loss = update()
        except NonFinite:
            return losses, "not_finite"
        if not math.isfinite(loss):
            return losses, "not_finite"
        losses.append(loss)
        total = settings.smoothing * total + (1 - settings.smoothing) * loss
        smoothed = total / (1 - settings.smoothing ** len(losses))
        lowest = min(lowest, smoothed)
        # A loss that may be negative has no multiple that is above it: the rise is measured by its size.
        if smoothed - lowest > (settings.stop_factor - 1) * max(abs(lowest), abs(losses[0]) * (lowest <= 0)):
            return losses, "rose"
    return losses, "completed"
