"""A run: from settings to a trained network in its folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.assembly import Scales, build_network, start_from
from trainer.checkpoints import Checkpoint
from trainer.data import Data
from trainer.data.facts import Facts
from trainer.errors import RunError, UsageError, nearest
from trainer.finder import check, run_finder
from trainer.folder_guard import FolderGuard
from trainer.folder_lock import RunLock
from trainer.graph import Compiled, Graph, build_graph, compile_graph, compile_prediction
from trainer.loggers.atomic import write_atomically
from trainer.loggers.base import Logger, Plan, Progress
from trainer.loggers.strict_json import to_json
from trainer.measuring import Measuring, measured_names
from trainer.memory import is_out_of_memory, out_of_memory
from trainer.objectives import Objective
from trainer.persistence import Persistence
from trainer.runtime import Runtime
from trainer.scheduling import check_schedules
from trainer.settings import Settings
from trainer.state import load_state
from trainer.steering import Steering
from trainer.summary import summarize, write_summary
from trainer.training import (
    Interrupted,
    Loop,
    NonFinitePolicy,
    Outcome,
    StopSignals,
    check_place,
    choose_feeding,
    make_resident,
)

log = logging.getLogger(__name__)


def train(
    settings: Settings,
    folder: Path,
    machine: Runtime,
    signals: StopSignals | None = None,
    *,
    resume: bool = False,
    on_accepted: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Train what the settings describe, and leave the run in its folder.

    Parameters
    ----------
    settings : Settings
        A checked configuration (`trainer.config.interpret`).
    folder : Path
        The run's folder, which exists.
    machine : Runtime
        What `trainer.runtime.prepare` returned.
    signals : StopSignals, optional
        Asked after each step whether to stop.
    resume : bool, default False
        Whether to go on from the newest sound checkpoint in the folder; where there is none, the run begins
        anew.
    on_accepted : callable
        Called once it is sure that the settings fit what was saved, before anything in the folder is changed.

    Returns
    -------
    dict
        What `summary.json` holds; empty where the task was another than training, or nothing was left to do.

    Raises
    ------
    UsageError
        Where the parts do not fit each other, the data cannot be read, or another process works on the
        folder.
    Diverged
        At a step that is not finite, as `training.non_finite` has it.
    RunError
        Where the memory does not suffice, and where the end of the run could not be written. Once training
        has begun, a summary is always written, as far as the disk allows.
    Interrupted
        Where a signal came before the first step.
    """
    loggers: list[Logger] = [component() for component in settings.loggers.values()]
    run = _Run(settings, folder, machine, loggers, signals or StopSignals(), resume, on_accepted)
    with RunLock(folder) as lock:
        try:
            return run.go(lock)
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(error, settings, run) from error
            raise
        finally:
            for logger in loggers:
                logger.close()


class _Run:
    """The parts of one run, made in the order in which they need each other."""

    def __init__(
        self,
        settings: Settings,
        folder: Path,
        machine: Runtime,
        loggers: list[Logger],
        signals: StopSignals,
        resume: bool,
        on_accepted: Callable[[], object],
    ) -> None:
        if settings.task == "find_learning_rate":
            check(settings.find_learning_rate)
        self.settings, self.folder, self.machine = settings, folder, machine
        self.loggers, self.signals, self.resume = loggers, signals, resume
        self.on_accepted = on_accepted

    def _build(self) -> None:
        """Make what is trained, from the data to the expressions."""
        settings, machine, training = self.settings, self.machine, self.settings.training
        self.data: Data = settings.data()
        self.objective: Objective = settings.objective()
        self.objective.check(self.data)
        self.facts = Facts.of(self.data, self.objective.outputs(self.data))
        self.network = build_network(settings, self.facts, Scales.fitted(settings, self.data))
        self.objective.check_output(self.network.output_shape, self.data)
        if self.network.carries_states and not getattr(self.data.train, "continuous", False):
            raise UsageError(
                "the network carries states from one batch to the next, but the batches of "
                f"{self.data.name} do not continue each other: choose model.carry=false, or "
                "data=text with data.continuous=true"
            )
        if settings.weights is not None:
            start_from(self.network, Path(settings.weights), settings.weights_match)
        self.graph: Graph = build_graph(settings, self.network, self.objective)
        on_cpu = machine.device == "cpu"
        stays, self.feeding = choose_feeding(
            training.feeding,
            self.data.train,
            np.dtype(machine.precision).itemsize,
            on_cpu=on_cpu,
            augmented=bool(settings.augmentation),
        )
        resident = make_resident(self.data.train, self.graph.inputs, self.graph.targets) if stays else None
        self.resident = resident
        self.batches = (resident.part if resident else self.data.train).batches(
            training.batch_size,
            seed=training.seed,
            dtype="int32" if resident else machine.precision,
            augmentation=settings.augmentation,
        )
        optimizer = self.graph.optimizer
        measured = measured_names(self.graph.metrics, optimizer.averages)
        self.monitor, self.mode = monitored(
            training.monitor, training.mode, measured, len(self.data.validation) > 0
        )
        optimizer.hyperparameters.check_metrics(measured)
        batches = len(self.batches)
        whole = math.ceil(batches / training.accumulation)
        steps = min(whole, training.steps_per_epoch or whole)
        self.progress = Progress(
            epochs=training.epochs,
            steps_per_epoch=steps,
            examples_per_epoch=min(len(self.data.train), training.batch_size * training.accumulation * steps),
            examples_per_step=training.batch_size * training.accumulation,
        )
        check_schedules(optimizer.hyperparameters, steps, training.epochs * steps)
        self.persistence = Persistence(
            self.folder,
            self.network,
            optimizer,
            training.checkpoints,
            on_cpu=on_cpu,
            returns=training.non_finite == "rollback",
        )

    def go(self, lock: RunLock) -> dict[str, Any]:
        """Do what the task is, in the folder that is locked."""
        with self.signals.at_once():
            self._build()
        checkpoint = self.persistence.find() if self.resume else None
        if self.resume and checkpoint is None:
            log.warning("%s has no checkpoint: the run begins anew", self.folder)
        if checkpoint is not None:
            check_place(checkpoint.state.values["loop"], self.progress)
            has_all_epochs = checkpoint.state.values["loop"]["epochs"] >= self.progress.epochs
            if has_all_epochs and self.persistence.ended_by_itself():
                log.info(
                    "%s has trained %d epochs, and training.epochs is %d: for more, give training.epochs=...",
                    self.folder,
                    checkpoint.state.values["loop"]["epochs"],
                    self.progress.epochs,
                )
                return {}
            self.progress.step = checkpoint.step
        self.on_accepted()
        for logger in self.loggers:
            logger.start(self._plan())
        if checkpoint is not None:
            log.info("goes on after step %d, from %s", checkpoint.step, checkpoint.folder)
        write_atomically(self.folder / "data.json", to_json(self.facts.as_json(), indent=2).encode())
        log.info(self.data.description)
        # Of interest to who looks for it, but not on every screen.
        for line in (self.feeding, self.batches.describe()):
            log.info(line, extra={"shown": True})
        with self.signals.at_once():
            compiled = compile_graph(self.graph, self.resident, self.persistence.settle)
        log.info("compiled in %.1f s for %s", compiled.seconds, self.machine.device)
        if self.settings.task == "find_learning_rate":
            self._find_learning_rate(compiled)
            return {}
        self.guard = FolderGuard(lock, self.persistence.begin_again)
        return self._train(compiled, checkpoint)

    def _plan(self) -> Plan:
        return Plan(
            folder=self.folder,
            title=self.settings.title,
            progress=self.progress,
            monitor=self.monitor,
            mode=self.mode,
            network=self.network.rows(),
            pictures=lambda test: self.objective.pictures(test, self.data, compile_prediction(self.network)),
        )

    def _begin_epoch(self) -> None:
        self.network.reset_states(self.settings.training.batch_size, training=True)

    def _find_learning_rate(self, compiled: Compiled) -> None:
        variables = self.persistence.variables
        before = {name: variable.get_value() for name, variable in variables.items()}
        run_finder(
            compiled.step,
            self.batches,
            self.graph.optimizer.hyperparameters,
            lambda: load_state(variables, before),
            self.settings.find_learning_rate,
            self.folder,
            title=self.settings.title,
            overrides=self.settings.overrides,
            accumulation=self.settings.training.accumulation,
            on_epoch_start=self._begin_epoch,
        )

    def _train(self, compiled: Compiled, checkpoint: Checkpoint | None) -> dict[str, Any]:
        """Train, evaluate the best weights on the test part, and summarize."""
        training, optimizer = self.settings.training, self.graph.optimizer
        measuring = Measuring(
            compiled.evaluation,
            self.data,
            self.network,
            optimizer,
            training.evaluation_batch_size,
            self.machine.precision,
            self.signals,
        )
        persistence = self.persistence
        steering = Steering(
            self.folder,
            optimizer.hyperparameters,
            self.progress,
            persistence.save_now,
            precision=self.machine.precision,
            resumed=checkpoint is not None,
        )
        loop = Loop(
            compiled.step,
            self.batches,
            measuring.validation,
            optimizer.hyperparameters,
            self.progress,
            monitor=self.monitor,
            mode=self.mode,
            accumulation=training.accumulation,
            non_finite=NonFinitePolicy(
                training.non_finite,
                training.non_finite_limit,
                on_diverged=persistence.save_before_divergence,
                rollback=lambda: persistence.roll_back(training.rollback_scale, self.loggers),
            ),
            callbacks={name: component() for name, component in self.settings.callbacks.items()},
            loggers=self.loggers,
            watchers=[self.guard, steering, persistence.watch],
            on_epoch_start=self._begin_epoch,
            on_best=persistence.keeper.keep_best,
            signals=self.signals,
        )
        persistence.attach(loop, steering)
        if checkpoint is not None:
            persistence.restore(checkpoint, self.loggers)
            (self.folder / "summary.json").unlink(missing_ok=True)
        elif training.non_finite == "rollback":
            persistence.save()
        try:
            outcome = loop.run()
            self.guard.look()
            persistence.save_last()
        except Exception:
            self._finish(loop.outcome, compiled.seconds, {}, steering)
            persistence.close()
            raise
        finally:
            steering.close()
        test: Mapping[str, Any] = {}
        if self.signals.received is None:
            try:
                test = self._test(measuring)
            except Interrupted:
                outcome.status = "interrupted"
        summary, unwritten = self._finish(outcome, compiled.seconds, test, steering)
        unwritten = persistence.close() or unwritten
        if unwritten is not None:
            raise RunError(
                f"{self.folder} lacks the end of the run ({unwritten.strerror or unwritten}): make room, or "
                f"make the folder writable, and have the rest done by resume={self.folder}"
            )
        return summary

    def _test(self, measuring: Measuring) -> dict[str, Any]:
        keeper = self.persistence.keeper
        averaged: dict[str, Any] = {}
        if self.graph.optimizer.averages:
            keeper.restore_best(averaged=True)
            averaged = {f"averaged/{name}": value for name, value in measuring.of(self.data.test).items()}
        keeper.restore_best()
        return {**measuring.of(self.data.test), **averaged}

    def _finish(
        self, outcome: Outcome, compile_seconds: float, test: Mapping[str, Any], steering: Steering
    ) -> tuple[dict[str, Any], OSError | None]:
        """Tell how the run went; return that, and what hindered its writing."""
        summary = summarize(
            outcome,
            test=test,
            network=self.network,
            machine=self.machine,
            compile_seconds=compile_seconds,
            seed=self.settings.training.seed,
            steering=steering.state()["changes"],
        )
        unwritten = None
        self.guard.look()
        try:
            for logger in self.loggers:
                logger.finish(summary)
        finally:
            # Last, so that a run that is killed before has all of its end still to come.
            try:
                write_summary(self.folder, summary)
            except OSError as error:
                unwritten = error
                log.warning("summary.json cannot be written (%s)", error.strerror or error)
        return summary, unwritten


def monitored(monitor: str, mode: str, measured: Sequence[str], has_validation: bool) -> tuple[str, str]:
    """Return the metric whose best epoch counts, and whether the best is its `min` or its `max`.

    Where there is no validation part, that is the smallest `train/loss`.

    Raises
    ------
    UsageError
        Where the run does not measure what is to be monitored.
    """
    if monitor not in measured:
        raise UsageError(f"training.monitor={monitor} is not measured: {nearest(monitor, measured)}")
    if monitor.startswith("validation/") and not has_validation:
        log.warning("there is no validation part: the best epoch is that of the smallest train/loss")
        return "train/loss", "min"
    return monitor, mode
