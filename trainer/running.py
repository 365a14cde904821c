"""A run at work: its loop, between what is compiled and what it leaves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.checkpoints import Checkpoint
from trainer.ending import Ending
from trainer.errors import RunError
from trainer.folder_guard import FolderGuard
from trainer.graph import Compiled
from trainer.loggers.base import Logger
from trainer.measuring import Measuring
from trainer.parts import Parts
from trainer.persistence import Persistence
from trainer.runtime import costs_on_cpu
from trainer.steering import Steering
from trainer.training import Interrupted, Loop, NonFinitePolicy, StopSignals

log = logging.getLogger(__name__)


class Running:
    """The loop of a run, and all that hears of it.

    Parameters
    ----------
    parts : Parts
        What the run is made of.
    compiled : Compiled
        What it executes.
    persistence : Persistence
        What saves its state.
    loggers : sequence of Logger
        Told of each record.
    signals : StopSignals
        Asked after each step whether to stop.
    guard : FolderGuard
        Looks after the run's folder.
    until : int, optional
        The epoch after which the loop pauses.
    """

    def __init__(
        self,
        parts: Parts,
        compiled: Compiled,
        persistence: Persistence,
        loggers: Sequence[Logger],
        signals: StopSignals,
        guard: FolderGuard,
        until: int | None = None,
    ) -> None:
        self.parts, self.compiled, self.persistence = parts, compiled, persistence
        self.loggers, self.signals, self.guard, self.until = list(loggers), signals, guard, until
        self.training = parts.settings.training

    def go(self, folder: Path, checkpoint: Checkpoint | None, ending: Ending) -> dict[str, Any]:
        """Train, evaluate the best weights on the test part, and return the summary.

        Parameters
        ----------
        folder : Path
            The run's.
        checkpoint : Checkpoint, optional
            Where it goes on.
        ending : Ending
            Tells how it went, also where an error ends it.

        Raises
        ------
        RunError
            Where the end of the run could not be written.
        """
        persistence, measuring = self.persistence, self._measuring()
        steering = Steering(
            folder,
            self.parts.graph.optimizer.hyperparameters,
            self.parts.progress,
            persistence.save_now,
            precision=self.parts.machine.precision,
            resumed=checkpoint is not None,
        )
        loop = self._loop(measuring, steering)
        persistence.attach(loop, steering)
        if checkpoint is not None:
            persistence.restore(checkpoint, self.loggers)
            (folder / "summary.json").unlink(missing_ok=True)
        elif self.training.non_finite == "rollback":
            persistence.save()
        try:
            outcome = loop.run()
            self.guard.look()
            persistence.save_last()
        except Exception:
            ending.tell(loop.outcome, {}, steering)
            persistence.close()
            raise
        finally:
            steering.close()
        test: Mapping[str, Any] = {}
        if outcome.status != "interrupted":
            try:
                test = self._test(measuring)
            except Interrupted:
                outcome.status = "interrupted"
        summary, unwritten = ending.tell(outcome, test, steering)
        unwritten = persistence.close() or unwritten
        if unwritten is not None:
            raise RunError(
                f"{folder} lacks the end of the run ({unwritten.strerror or unwritten}): make room, or "
                f"make the folder writable, and have the rest done by resume={folder}"
            )
        return summary

    def _measuring(self) -> Measuring:
        return Measuring(
            self.compiled.evaluation,
            self.parts.data,
            self.parts.network,
            self.parts.graph.optimizer,
            self.training.evaluation_batch_size,
            self.parts.machine.precision,
            self.signals,
        )

    def _loop(self, measuring: Measuring, steering: Steering) -> Loop:
        training, parts, persistence = self.training, self.parts, self.persistence
        costs = costs_on_cpu(self.compiled.step.functions[:1], log.info)
        return Loop(
            self.compiled.step,
            parts.batches,
            measuring.validation,
            parts.graph.optimizer.hyperparameters,
            parts.progress,
            monitor=parts.monitor,
            mode=parts.mode,
            accumulation=training.accumulation,
            non_finite=NonFinitePolicy(
                training.non_finite,
                training.non_finite_limit,
                on_diverged=persistence.save_before_divergence,
                rollback=lambda: persistence.roll_back(training.rollback_scale, self.loggers),
            ),
            callbacks={name: component() for name, component in parts.settings.callbacks.items()},
            loggers=self.loggers,
            watchers=[self.guard, steering, persistence.watch, *costs],
            on_epoch_start=parts.begin_epoch,
            on_best=persistence.keeper.keep_best,
            signals=self.signals,
            until=self.until,
        )

    def _test(self, measuring: Measuring) -> dict[str, Any]:
        keeper, part = self.persistence.keeper, self.parts.data.test
        averaged: dict[str, Any] = {}
        if self.parts.graph.optimizer.averages:
            keeper.restore_best(averaged=True)
            averaged = {f"averaged/{name}": value for name, value in measuring.of(part).items()}
        keeper.restore_best()
        return {**measuring.of(part), **averaged}
