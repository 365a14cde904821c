"""The training loop: epochs of steps, evaluation, the best epoch, records."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from trainer.hyperparameters import Hyperparameters
from trainer.kernels.finite import NonFinite
from trainer.loggers.base import Logger, Progress, improves
from trainer.training.callbacks import Callback
from trainer.training.divergence import Diverged, NonFinitePolicy
from trainer.training.outcome import Epoch, Outcome, Record, check_place
from trainer.training.signals import Interrupted, StopSignals

log = logging.getLogger(__name__)


class Batches(Protocol):
    """What the loop trains on: see `trainer.data.Batches`."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, start: int = 0) -> Iterable[tuple[Any, Any]]:
        """Return the batches of an epoch, in its own order, from the batch number `start` on."""


class Step(Protocol):
    """What an update is: see `trainer.training.TrainingStep`."""

    def __call__(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
        """Update by the batches gathered and this one; return their loss and the norm of its gradients."""

    def gather(self, inputs: Any, targets: Any) -> None:
        """Take a batch that is not the last one of its update."""


class Loop:
    """Trains a compiled step for some epochs.

    Parameters
    ----------
    step : callable
        The compiled training step: a batch's arrays to its loss and the total norm of its gradients.
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
    accumulation : int, default 1
        How many batches make a step; the last step of an epoch takes those that are left.
    non_finite : NonFinitePolicy
        What becomes of a step that is not finite; by default the run ends there.
    callbacks : mapping
        By name; called at each epoch's end, in order.
    loggers : sequence
        Called at each epoch's end, in order.
    watchers : sequence of callables
        Called with the loop after each step, when `state` may be asked for: after the last step of an epoch
        only when the epoch is evaluated, recorded and closed.
    on_epoch_start : callable
        Called before the first step of each epoch, and not where a run goes on in the middle of it.
    on_best : callable
        Called when an epoch is the best so far, to keep its weights.
    signals : StopSignals
        Asked after each step whether to stop.
    until : int, optional
        The epoch after which the loop pauses, where more are planned: its outcome is `interrupted` then.
    """

    def __init__(
        self,
        step: Step,
        batches: Batches,
        evaluate: Callable[[], Record],
        hyperparameters: Hyperparameters,
        progress: Progress,
        *,
        monitor: str,
        mode: str = "min",
        accumulation: int = 1,
        non_finite: NonFinitePolicy | None = None,
        callbacks: Mapping[str, Callback] | None = None,
        loggers: Sequence[Logger] = (),
        watchers: Sequence[Callable[[Loop], None]] = (),
        on_epoch_start: Callable[[], None] = lambda: None,
        on_best: Callable[[], None] = lambda: None,
        signals: StopSignals | None = None,
        until: int | None = None,
    ) -> None:
        self.step = step
        self.batches = batches
        self.evaluate = evaluate
        self.hyperparameters = hyperparameters
        self.progress = progress
        self.monitor = monitor
        self.mode = mode
        self.accumulation = accumulation
        self.non_finite = non_finite or NonFinitePolicy()
        self.callbacks = dict(callbacks or {})
        self.loggers = loggers
        self.watchers = watchers
        self.on_epoch_start = on_epoch_start
        self.on_best = on_best
        self.signals = signals or StopSignals()
        self.last_epoch = progress.epochs if until is None else min(until, progress.epochs)
        self.outcome = Outcome()
        self._epoch = Epoch()
        self._seconds_before = 0.0
        self._stop_reason: str | None = None
        self._stops_now = False

    def stop(self, reason: str) -> None:
        """Ask the loop to stop at the end of this epoch."""
        self._stop_reason = reason

    def request_stop(self, reason: str) -> None:
        """Ask the loop to stop after this step."""
        self._stop_reason, self._stops_now = reason, True

    def run(self) -> Outcome:
        """Train until the planned epochs are done, or `until`; a callback stops the run; or a signal comes.

        Raises
        ------
        Diverged
            At a step that is not finite and is not to be survived; parameters and state are those before it.
        """
        outcome, progress = self.outcome, self.progress
        progress.started = time.monotonic()
        for callback in self.callbacks.values():
            callback.on_train_start(self)
        try:
            while outcome.epochs < self.last_epoch and not self._is_over():
                if self._train_epoch() and self._close_epoch():
                    self._watch()
        except Diverged:
            outcome.status = "diverged"
            raise
        finally:
            outcome.seconds = self._elapsed()
            progress.phase = "done"
        for callback in self.callbacks.values():
            callback.on_train_end(self)
        outcome.status = self._status()
        return outcome

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps of the loop: what JSON can hold, in numbers that it keeps exactly."""
        outcome = self.outcome
        return {
            "epochs": outcome.epochs,
            "steps": outcome.steps,
            "examples": outcome.examples,
            "seconds": self._elapsed(),
            "epoch": asdict(self._epoch),
            "steps_per_epoch": self.progress.steps_per_epoch,
            "examples_per_step": self.progress.examples_per_step,
            "non_finite": self.non_finite.state(),
            "stop": None if self._stops_now else self._stop_reason,
            "best": outcome.best,
            "history": list(outcome.history),
            "callbacks": {name: callback.state() for name, callback in self.callbacks.items()},
        }

    def load_state(self, state: Mapping[str, Any], *, ended: bool = False) -> None:
        """Go on from what `state` gave, to the same bits, in the middle of an epoch too.

        Callbacks of names that the state does not have begin anew. More or fewer epochs may be planned now.

        Parameters
        ----------
        state : mapping
            As `state` gave it.
        ended : bool, default False
            Whether that run came to its end by itself and shall go on nevertheless: the wish of a callback to
            stop it is forgotten then.

        Raises
        ------
        UsageError
            As `check_place` does; nothing is changed then.
        """
        check_place(state, self.progress)
        outcome = self.outcome
        outcome.epochs, outcome.steps = state["epochs"], state["steps"]
        outcome.examples, outcome.seconds = state["examples"], state["seconds"]
        outcome.best, outcome.history = dict(state["best"]), list(state["history"])
        self._epoch = Epoch(**state["epoch"])
        self._seconds_before = state["seconds"]
        self._stop_reason = None if ended else state["stop"]
        self.progress.step = outcome.steps
        self.non_finite.load_state(state["non_finite"])
        for name in self.callbacks.keys() & state["callbacks"].keys():
            self.callbacks[name].load_state(state["callbacks"][name])

    def _elapsed(self) -> float:
        started = self.progress.started
        return self._seconds_before + (time.monotonic() - started if started else 0.0)

    def _is_over(self) -> bool:
        return self._stop_reason is not None or self.signals.received is not None

    def _status(self) -> str:
        if self.signals.received is not None:
            log.warning("stopped by %s after step %d", self.signals.received.name, self.outcome.steps)
            return "interrupted"
        if self._stop_reason is not None and self.outcome.epochs < self.progress.epochs:
            log.info("stopped early: %s", self._stop_reason)
            return "stopped_early"
        if self.outcome.epochs < self.progress.epochs:
            log.info("pauses after epoch %d of %d", self.outcome.epochs, self.progress.epochs)
            return "interrupted"
        return "completed"

    def _watch(self) -> None:
        for watcher in self.watchers:
            watcher(self)

    def _train_epoch(self) -> bool:
        """Train what is left of the epoch; return whether that was its end."""
        progress, outcome, signals, epoch = self.progress, self.outcome, self.signals, self._epoch
        step, advance, accumulation = self.step, self.hyperparameters.advance, self.accumulation
        steps_per_epoch = progress.steps_per_epoch
        total_steps = progress.epochs * steps_per_epoch
        progress.phase, progress.epoch = "training", outcome.epochs + 1
        if not epoch.position:
            self.on_epoch_start()
        first = epoch.position * accumulation
        last = min(len(self.batches), steps_per_epoch * accumulation)
        if first >= last:
            return True
        examples = 0
        for number, (inputs, targets) in enumerate(self.batches.epoch(outcome.epochs + 1, first), first + 1):
            if not examples:
                advance(outcome.steps, steps_per_epoch, total_steps)
            examples += len(inputs)
            if number < last and number % accumulation:
                step.gather(inputs, targets)
                continue
            try:
                loss, norm = step(inputs, targets)
            except NonFinite as error:
                if self._is_rolled_back(error):
                    return False
                epoch.skipped += 1
            else:
                epoch.loss += float(loss) * examples
                epoch.norm += float(norm)
                epoch.examples += examples
            epoch.position += 1
            outcome.steps += 1
            outcome.examples += examples
            progress.step = outcome.steps
            progress.examples += examples
            examples = 0
            if number < last and self.watchers:
                self._watch()
            if signals.received is not None or self._stops_now:
                return False
            if number >= last:
                break
        return True

    def _is_rolled_back(self, error: NonFinite) -> bool:
        """Survive a step that is not finite: return whether by going back, or else by leaving it out."""
        before = self._seconds_before
        rolled_back = self.non_finite.survive(error, self.outcome.steps + 1, self.hyperparameters.values())
        self._seconds_before = before
        return rolled_back

    def _close_epoch(self) -> bool:
        """Evaluate and record the epoch; return False where a signal came, and it stays open."""
        progress, outcome = self.progress, self.outcome
        progress.phase = "evaluating"
        try:
            metrics = self.evaluate()
        except Interrupted:
            return False
        outcome.epochs += 1
        record: Record = {
            "epoch": outcome.epochs,
            "step": outcome.steps,
            "seconds": round(self._elapsed(), 3),
            **self._epoch.means(),
            **({"train/skipped_steps": self._epoch.skipped} if self.non_finite.skips else {}),
            **metrics,
            **{f"hyperparameter/{name}": value for name, value in self.hyperparameters.values().items()},
        }
        self._epoch = Epoch()
        best = outcome.best.get(self.monitor)
        if improves(record[self.monitor], best, self.mode):
            outcome.best = record
            self.on_best()
        outcome.history.append(record)
        self.hyperparameters.observe(record, self.monitor, self.mode)
        for logger in self.loggers:
            logger.record(record)
        for callback in self.callbacks.values():
            callback.on_epoch_end(self, record)
        return True
