"""A run: from settings to a trained network in its folder."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.assembly import Scales, build_network, start_from
from trainer.data import Data, Part
from trainer.data.facts import Facts
from trainer.errors import UsageError, nearest
from trainer.graph import Graph, build_graph, compile_graph, compile_prediction
from trainer.loggers.atomic import write_atomically
from trainer.loggers.base import Logger, Plan, Progress
from trainer.loggers.strict_json import to_json
from trainer.objectives import Objective
from trainer.runtime import Runtime
from trainer.settings import Settings
from trainer.summary import summarize, write_summary
from trainer.training import (
    Evaluation,
    Loop,
    Outcome,
    StopSignals,
    WeightKeeper,
    choose_feeding,
    make_resident,
)

log = logging.getLogger(__name__)


def train(
    settings: Settings, folder: Path, machine: Runtime, signals: StopSignals | None = None
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

    Returns
    -------
    dict
        What `summary.json` holds.

    Raises
    ------
    UsageError
        Where the parts do not fit each other, or the data cannot be read.
    Diverged
        At the first step whose loss is not finite. Once training has begun, a summary is always written.
    """
    loggers: list[Logger] = [component() for component in settings.loggers.values()]
    try:
        return _Run(settings, folder, machine, loggers, signals or StopSignals()).train()
    finally:
        for logger in loggers:
            logger.close()


class _Run:
    """The parts of one run, made in the order in which they need each other."""

    def __init__(
        self, settings: Settings, folder: Path, machine: Runtime, loggers: list[Logger], signals: StopSignals
    ) -> None:
        training = settings.training
        self.settings, self.folder, self.machine = settings, folder, machine
        self.loggers, self.signals = loggers, signals
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
        stays, self.feeding = choose_feeding(
            training.feeding,
            self.data.train,
            np.dtype(machine.precision).itemsize,
            on_cpu=machine.device == "cpu",
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
        self.monitor, self.mode = monitored(
            training.monitor, training.mode, self.graph.metrics, len(self.data.validation) > 0
        )
        steps = min(len(self.batches), training.steps_per_epoch or len(self.batches))
        self.progress = Progress(
            epochs=training.epochs,
            steps_per_epoch=steps,
            examples_per_epoch=min(len(self.data.train), training.batch_size * steps),
        )

    def train(self) -> dict[str, Any]:
        """Compile, train, evaluate the best weights on the test part, and summarize."""
        training = self.settings.training
        plan = Plan(
            folder=self.folder,
            title=self.settings.title,
            progress=self.progress,
            monitor=self.monitor,
            mode=self.mode,
            network=self.network.rows(),
            pictures=lambda test: self.objective.pictures(test, self.data, compile_prediction(self.network)),
        )
        for logger in self.loggers:
            logger.start(plan)
        write_atomically(self.folder / "data.json", to_json(self.facts.as_json(), indent=2).encode())
        log.info(self.data.description)
        # Of interest to who looks for it, but not on every screen.
        for line in (self.feeding, self.batches.describe()):
            log.info(line, extra={"shown": True})
        compiled = compile_graph(self.graph, self.resident)
        log.info("compiled in %.1f s for %s", compiled.seconds, self.machine.device)
        keeper = WeightKeeper(self.network, self.folder / "checkpoints")
        loop = Loop(
            compiled.step,
            self.batches,
            lambda: self._validate(compiled.evaluation),
            self.graph.optimizer.hyperparameters,
            self.progress,
            monitor=self.monitor,
            mode=self.mode,
            callbacks=[component() for component in self.settings.callbacks.values()],
            loggers=self.loggers,
            on_epoch_start=lambda: self.network.reset_states(training.batch_size, training=True),
            on_best=keeper.keep_best,
            signals=self.signals,
        )
        try:
            outcome = loop.run()
        except Exception:
            self._finish(loop.outcome, compiled.seconds, {})
            raise
        keeper.save_last()
        test: Mapping[str, Any] = {}
        if self.signals.received is None:
            keeper.restore_best()
            test = self._measure(compiled.evaluation, self.data.test)
        return self._finish(outcome, compiled.seconds, test)

    def _finish(self, outcome: Outcome, compile_seconds: float, test: Mapping[str, Any]) -> dict[str, Any]:
        summary = summarize(
            outcome,
            self.progress,
            test=test,
            network=self.network,
            machine=self.machine,
            compile_seconds=compile_seconds,
            seed=self.settings.training.seed,
        )
        write_summary(self.folder, summary)
        for logger in self.loggers:
            logger.finish(summary)
        return summary

    def _validate(self, evaluation: Evaluation) -> dict[str, float]:
        measured = self._measure(evaluation, self.data.validation)
        return {f"validation/{name}": value for name, value in measured.items() if isinstance(value, float)}

    def _measure(self, evaluation: Evaluation, part: Part) -> dict[str, Any]:
        if not len(part):
            return {}
        batch_size = self.settings.training.evaluation_batch_size
        self.network.reset_states(batch_size, training=False)
        return evaluation(part.batches(batch_size, dtype=self.machine.precision).epoch(0))


def monitored(monitor: str, mode: str, metrics: Collection[str], has_validation: bool) -> tuple[str, str]:
    """Return the metric whose best epoch counts, and whether the best is its `min` or its `max`.

    Where there is no validation part, that is the smallest `train/loss`.

    Raises
    ------
    UsageError
        Where the run does not measure what is to be monitored.
    """
    measured = ["train/loss", *(f"validation/{name}" for name in metrics)]
    if monitor not in measured:
        raise UsageError(f"training.monitor={monitor} is not measured: {nearest(monitor, measured)}")
    if monitor.startswith("validation/") and not has_validation:
        log.warning("there is no validation part: the best epoch is that of the smallest train/loss")
        return "train/loss", "min"
    return monitor, mode
