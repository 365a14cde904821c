"""A run: from settings to a trained network in its folder."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from trainer.data import Batches, Data, Part
from trainer.errors import UsageError, nearest
from trainer.graph import Graph, build_graph, compile_graph
from trainer.loggers.base import Logger, Plan, Progress
from trainer.models import Network
from trainer.runtime import Runtime
from trainer.settings import Settings
from trainer.summary import summarize, write_summary
from trainer.training import Evaluation, Loop, Outcome, StopSignals, WeightKeeper

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
        At the first step whose loss is not finite. Whatever ends a run early, its summary is written.
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
        layers = settings.model(input_shape=self.data.input_shape, outputs=self.data.outputs)
        self.network = Network(layers, self.data.input_shape, training.seed)
        self.graph: Graph = build_graph(settings, self.network, self.data)
        self.batches = self._batches(self.data.train, training.batch_size, training.seed)
        self.monitor = monitored(training.monitor, self.graph.metrics, len(self.data.validation) > 0)
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
            self.folder, self.settings.title, self.progress, self.monitor, training.mode, self.network.rows()
        )
        for logger in self.loggers:
            logger.start(plan)
        log.info(self.data.description)
        compiled = compile_graph(self.graph)
        log.info("compiled in %.1f s for %s", compiled.seconds, self.machine.device)
        keeper = WeightKeeper(self.network, self.folder / "checkpoints")
        loop = Loop(
            compiled.step,
            self.batches,
            lambda: self._measure(compiled.evaluation, self.data.validation, "validation/"),
            self.graph.optimizer.hyperparameters,
            self.progress,
            monitor=self.monitor,
            mode=training.mode,
            callbacks=[component() for component in self.settings.callbacks.values()],
            loggers=self.loggers,
            on_best=keeper.keep_best,
            signals=self.signals,
        )
        try:
            outcome = loop.run()
        except Exception:
            self._finish(loop.outcome, compiled.seconds, {})
            raise
        keeper.save_last()
        test: Mapping[str, float] = {}
        if self.signals.received is None:
            keeper.restore_best()
            test = self._measure(compiled.evaluation, self.data.test)
        return self._finish(outcome, compiled.seconds, test)

    def _finish(self, outcome: Outcome, compile_seconds: float, test: Mapping[str, float]) -> dict[str, Any]:
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

    def _measure(self, evaluation: Evaluation, part: Part, prefix: str = "") -> dict[str, float]:
        if not len(part):
            return {}
        batches = self._batches(part, self.settings.training.evaluation_batch_size)
        return {f"{prefix}{name}": value for name, value in evaluation(batches.epoch(0)).items()}

    def _batches(self, part: Part, batch_size: int, seed: int | None = None) -> Batches:
        return Batches(part, batch_size, seed=seed, dtype=self.machine.precision)


def monitored(monitor: str, metrics: Collection[str], has_validation: bool) -> str:
    """Return the metric whose best epoch counts: `train/loss` where there is no validation part.

    Raises
    ------
    UsageError
        Where the run does not measure what is to be monitored.
    """
    measured = ["train/loss", *(f"validation/{name}" for name in ("loss", *metrics))]
    if monitor not in measured:
        raise UsageError(f"training.monitor={monitor} is not measured: {nearest(monitor, measured)}")
    if monitor.startswith("validation/") and not has_validation:
        log.warning("there is no validation part: the best epoch is that of the smallest train/loss")
        return "train/loss"
    return monitor
