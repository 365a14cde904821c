"""A run: from settings to a trained network in its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainer import collecting
from trainer.checkpoints import Checkpoint
from trainer.ending import Ending
from trainer.errors import RunError, UsageError
from trainer.finder import check, run_finder
from trainer.folder_guard import FolderGuard
from trainer.folder_lock import RunLock
from trainer.graph import Compiled, compile_graph
from trainer.loggers.atomic import write_atomically
from trainer.loggers.base import Logger, Plan
from trainer.loggers.strict_json import to_json
from trainer.memory import is_out_of_memory, out_of_memory
from trainer.parts import Parts
from trainer.persistence import Persistence
from trainer.running import Running
from trainer.runtime import Runtime
from trainer.settings import Settings
from trainer.state import load_state
from trainer.training import Interrupted, StopSignals, check_place
from trainer.workshop import Workshop

log = logging.getLogger(__name__)

Leads = Callable[[Mapping[str, Any], str, str], bool]


def train(
    settings: Settings,
    folder: Path,
    machine: Runtime,
    signals: StopSignals | None = None,
    *,
    resume: bool = False,
    on_accepted: Callable[[], object] = lambda: None,
    workshop: Workshop | None = None,
    until: int | None = None,
    leads: Leads = lambda summary, monitor, mode: True,
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
    workshop : Workshop, optional
        What other runs of this process left that this one may use, to the same bits as without it: compiled
        functions, data. It is given to all of them.
    until : int, optional
        The epoch after which the run is left open, where more are planned: its state is saved, its status
        `interrupted`, and the test part not looked at; with `resume` it goes on.
    leads : callable
        From the run's summary, the monitored key and its mode to whether the run is the best of its sweep so
        far, whose pictures are drawn.

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
    workshop = workshop or Workshop()
    parts = Parts(settings, machine, workshop, folder.name)
    run = _Run(parts, folder, loggers, signals or StopSignals(), until, leads)
    with RunLock(folder) as lock:
        try:
            summary = run.go(lock, resume=resume, on_accepted=on_accepted)
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(error, settings, parts) from error
            if isinstance(error, (UsageError, RunError)):
                run.leave_bench()
            raise
        except Interrupted:
            run.leave_bench()
            raise
        finally:
            for logger in loggers:
                logger.close()
        run.leave_bench()
        return summary


class _Run:
    """One run at work on its parts."""

    def __init__(
        self,
        parts: Parts,
        folder: Path,
        loggers: list[Logger],
        signals: StopSignals,
        until: int | None,
        leads: Leads,
    ) -> None:
        if parts.settings.task == "find_learning_rate":
            check(parts.settings.find_learning_rate)
        self.parts, self.settings = parts, parts.settings
        self.folder, self.loggers, self.signals, self.until = folder, loggers, signals, until
        self.leads = leads

    def go(self, lock: RunLock, *, resume: bool, on_accepted: Callable[[], object]) -> dict[str, Any]:
        """Do what the task is, in the folder that is locked."""
        parts = self.parts
        with self.signals.at_once():
            parts.build()
        self.persistence = Persistence(
            self.folder,
            parts.network,
            parts.graph.optimizer,
            self.settings.training.checkpoints,
            on_cpu=parts.machine.device == "cpu",
            returns=self.settings.training.non_finite == "rollback",
        )
        checkpoint = self._checkpoint() if resume else None
        if checkpoint is not None and self._is_done(checkpoint):
            return {}
        on_accepted()
        for logger in self.loggers:
            logger.start(self._plan())
        if checkpoint is not None:
            log.info("goes on after step %d, from %s", checkpoint.step, checkpoint.folder)
        write_atomically(self.folder / "data.json", to_json(parts.facts.as_json(), indent=2).encode())
        log.info(parts.data.description)
        # Of interest to who looks for it, but not on every screen.
        for line in (parts.feeding, parts.batches.describe()):
            log.info(line, extra={"shown": True})
        compiled, seconds = self._compiled()
        if self.settings.task == "find_learning_rate":
            self._find_learning_rate(compiled)
            return {}
        guard = FolderGuard(lock, self.persistence.begin_again)
        ending = Ending(self.folder, parts, self.loggers, guard, seconds)
        running = Running(parts, compiled, self.persistence, self.loggers, self.signals, guard, self.until)
        return running.go(self.folder, checkpoint, ending)

    def leave_bench(self) -> None:
        """Leave the compiled functions to the runs after this one."""
        if self.parts.bench is not None:
            self.parts.workshop.put(self.parts.bench)

    def _checkpoint(self) -> Checkpoint | None:
        checkpoint = self.persistence.find()
        if checkpoint is None:
            log.warning("%s has no checkpoint: the run begins anew", self.folder)
            return None
        check_place(checkpoint.state.values["loop"], self.parts.progress)
        self.parts.progress.step = checkpoint.step
        return checkpoint

    def _is_done(self, checkpoint: Checkpoint) -> bool:
        epochs = checkpoint.state.values["loop"]["epochs"]
        if epochs < self.parts.progress.epochs or not self.persistence.ended_by_itself():
            return False
        log.info(
            "%s has trained %d epochs, and training.epochs is %d: for more, give training.epochs=...",
            self.folder,
            epochs,
            self.parts.progress.epochs,
        )
        return True

    def _plan(self) -> Plan:
        parts, bench = self.parts, self.parts.bench
        assert bench is not None
        return Plan(
            folder=self.folder,
            title=self.settings.title,
            progress=parts.progress,
            monitor=parts.monitor,
            mode=parts.mode,
            network=parts.network.rows(),
            pictures=lambda test: parts.objective.pictures(test, parts.data, bench.predict),
            leads=lambda summary: self.leads(summary, parts.monitor, parts.mode),
        )

    def _compiled(self) -> tuple[Compiled, float]:
        """Return the compiled functions, and the seconds that it took to compile them for this run."""
        bench = self.parts.bench
        assert bench is not None
        bench.seam.bind(self.persistence.settle)
        if bench.compiled is not None:
            log.info("uses the compiled step of %s", bench.maker)
            return bench.compiled, 0.0
        with self.signals.at_once():
            bench.compiled = compile_graph(bench.graph, bench.resident, bench.seam)
        collecting.as_usual()
        seconds = bench.compiled.seconds
        log.info("compiled in %.1f s for %s%s", seconds, self.parts.machine.named, self.parts.why_compiled)
        return bench.compiled, seconds

    def _find_learning_rate(self, compiled: Compiled) -> None:
        variables = self.persistence.variables
        before = {name: variable.get_value() for name, variable in variables.items()}
        run_finder(
            compiled.step,
            self.parts.batches,
            self.parts.graph.optimizer.hyperparameters,
            lambda: load_state(variables, before),
            self.settings.find_learning_rate,
            self.folder,
            title=self.settings.title,
            overrides=self.settings.overrides,
            accumulation=self.settings.training.accumulation,
            on_epoch_start=self.parts.begin_epoch,
        )
