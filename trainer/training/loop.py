"""The training loop: epochs of steps, evaluation, the best epoch, records."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainer.errors import RunError
from trainer.hyperparameters import Hyperparameters
from trainer.loggers.base import Logger, Progress, improves
from trainer.training.callbacks import Callback
from trainer.training.signals import StopSignals
from trainer.training.steps import TrainingStep

log = logging.getLogger(__name__)

Record = dict[str, float]


class Batches(Protocol):
    """What the loop trains on: see `trainer.data.Batches`."""

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterable[tuple[Any, Any]]:
        """Return the batches of an epoch, in its own order."""


class Diverged(RunError):
    """The loss is no longer a finite number."""


@dataclass
class Outcome:
    """How a run went.

    Attributes
    ----------
    status : str
        `completed`, `stopped_early` or `interrupted`; `diverged` and `failed` where an error ended it.
    epochs, steps : int
        What was done, epochs counted whole.
    seconds : float
        From the first step to the end of the last epoch, on the wall clock.
    best : dict
        The record of the best epoch by the monitored metric; empty before the first epoch's end.
    history : list of dict
        The record of each epoch.
    """

    status: str = "failed"
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    best: Record = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)


class Loop:
    """Trains a compiled step for some epochs.

    Parameters
    ----------
    step : callable
        The compiled training step: a batch's arrays to its loss.
    batches : Batches
        The training part.
    evaluate : callable
        Returns the validation metrics, named `validation/...`; empty where there is no validation part.
    hyperparameters : Hyperparameters
        Set from their schedules before each step.
    progress : Progress
        Mutated as the run goes, for displays to read in their own time.
    monitor : str
        The metric whose best epoch counts.
    mode : str
        `min` or `max`.
    callbacks, loggers : sequences
        Called at each epoch's end, in order.
    on_epoch_start : callable
        Called before the first step of each epoch.
    on_best : callable
        Called when an epoch is the best so far, to keep its weights.
    signals : StopSignals
        Asked after each step whether to stop.
    """

    def __init__(
        self,
        step: TrainingStep,
        batches: Batches,
        evaluate: Callable[[], Record],
        hyperparameters: Hyperparameters,
        progress: Progress,
        *,
        monitor: str,
        mode: str = "min",
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Logger] = (),
        on_epoch_start: Callable[[], None] = lambda: None,
        on_best: Callable[[], None] = lambda: None,
        signals: StopSignals | None = None,
    ) -> None:
        self.step = step
        self.batches = batches
        self.evaluate = evaluate
        self.hyperparameters = hyperparameters
        self.progress = progress
        self.monitor = monitor
        self.mode = mode
        self.callbacks = callbacks
        self.loggers = loggers
        self.on_epoch_start = on_epoch_start
        self.on_best = on_best
        self.signals = signals or StopSignals()
        self.outcome = Outcome()
        self._stop_reason: str | None = None

    def stop(self, reason: str) -> None:
        """Ask the loop to stop at the end of this epoch."""
        self._stop_reason = reason

    def run(self) -> Outcome:
        """Train until the planned epochs are done, a callback stops the run, or a signal comes.

        Raises
        ------
        Diverged
            At the first step whose loss is not finite.
        """
        outcome, progress = self.outcome, self.progress
        progress.started = time.monotonic()
        for callback in self.callbacks:
            callback.on_train_start(self)
        try:
            while outcome.epochs < progress.epochs and not self._is_over():
                train_loss = self._train_epoch(outcome.epochs + 1)
                if train_loss is None:
                    break
                outcome.epochs += 1
                self._close_epoch(train_loss)
        except Diverged:
            outcome.status = "diverged"
            raise
        finally:
            outcome.seconds = time.monotonic() - progress.started
            progress.phase = "done"
        for callback in self.callbacks:
            callback.on_train_end(self)
        outcome.status = self._status()
        return outcome

    def _is_over(self) -> bool:
        return self._stop_reason is not None or self.signals.received is not None

    def _status(self) -> str:
        if self.signals.received is not None:
            log.warning("stopped by %s after step %d", self.signals.received.name, self.outcome.steps)
            return "interrupted"
        if self._stop_reason is not None and self.outcome.epochs < self.progress.epochs:
            log.info("stopped early: %s", self._stop_reason)
            return "stopped_early"
        return "completed"

    def _train_epoch(self, epoch: int) -> float | None:
        """Train one epoch; return its mean loss, or None where a signal ended it."""
        progress, outcome, signals = self.progress, self.outcome, self.signals
        step, advance = self.step, self.hyperparameters.advance
        total_steps = progress.epochs * progress.steps_per_epoch
        progress.phase, progress.epoch = "training", epoch
        self.on_epoch_start()
        total_loss, examples = 0.0, 0
        for position, (inputs, targets) in enumerate(self.batches.epoch(epoch), start=1):
            advance(outcome.steps, progress.steps_per_epoch, total_steps)
            loss = float(step(inputs, targets))
            if not math.isfinite(loss):
                raise Diverged(self._divergence(loss))
            total_loss += loss * len(inputs)
            examples += len(inputs)
            outcome.steps += 1
            progress.step = outcome.steps
            progress.examples += len(inputs)
            if signals.received is not None:
                return None
            if position == progress.steps_per_epoch:
                break
        return total_loss / examples

    def _divergence(self, loss: float) -> str:
        values = ", ".join(f"{name}={value:g}" for name, value in self.hyperparameters.values().items())
        return (
            f"the loss became {loss} at step {self.outcome.steps + 1} with {values}: "
            "lower optimizer.learning_rate or choose clipping=total_norm"
        )

    def _close_epoch(self, train_loss: float) -> None:
        progress, outcome = self.progress, self.outcome
        progress.phase = "evaluating"
        metrics = self.evaluate()
        record: Record = {
            "epoch": outcome.epochs,
            "step": outcome.steps,
            "seconds": round(time.monotonic() - progress.started, 3),
            "train/loss": train_loss,
            **metrics,
            **{f"hyperparameter/{name}": value for name, value in self.hyperparameters.values().items()},
        }
        best = outcome.best.get(self.monitor)
        if improves(record[self.monitor], best, self.mode):
            outcome.best = record
            self.on_best()
        outcome.history.append(record)
        for logger in self.loggers:
            logger.record(record)
        for callback in self.callbacks:
            callback.on_epoch_end(self, record)
