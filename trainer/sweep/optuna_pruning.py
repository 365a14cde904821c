"""A trial of Optuna's tells its study how it goes, and stops where the study's pruner has it stop."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from trainer.components import Component
from trainer.settings import Settings
from trainer.training.callbacks import Callback, Control

if TYPE_CHECKING:
    import optuna

NAME = "optuna_pruning"
_STUDY_FILE = "study.db"
log = logging.getLogger(__name__)


def reporting(settings: Settings) -> Settings:
    """Return a job's settings, with this callback where the job is a trial that may be stopped.

    That is no part of the job's configuration, so that the same run can be had without its study.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return settings
    hydra = HydraConfig.get()
    node = OmegaConf.to_container(hydra.sweeper, resolve=True)
    assert isinstance(node, dict)
    if not str(node.get("_target_")).endswith(".OptunaSweeper") or not node.get("pruner"):
        return settings
    study = Path(str(hydra.sweep.dir)) / _STUDY_FILE
    several = len(node.get("objectives") or []) > 1
    if several or not study.exists() or NAME in settings.callbacks:
        return settings
    arguments = {"study": study, "number": int(hydra.job.num), "pruner": node["pruner"]}
    watched = Component(StopPoorTrials, arguments, "hydra.sweeper.pruner")
    return replace(settings, callbacks={**settings.callbacks, NAME: watched})


class StopPoorTrials(Callback):
    """Report the monitored metric at each epoch's end, and stop where the pruner says so.

    A study that cannot be reached ends no run: the training goes on, and nothing more is reported.

    Parameters
    ----------
    study : Path
        The SQLite file of the study.
    number : int
        The trial's number.
    pruner : mapping
        `_target_` and arguments of one of Optuna's pruners.
    """

    def __init__(self, study: Path, number: int, pruner: Mapping[str, Any]) -> None:
        self.study, self.number, self.pruner = study, number, pruner
        self._trial: optuna.Trial | None = None
        self._told: set[int] = set()

    def on_train_start(self, loop: Control) -> None:
        """Find the trial; what it reported before it was interrupted counts."""
        from trainer.sweep import optuna_study

        pruner = optuna_study.make_pruner(self.pruner)
        if pruner is None:
            return
        try:
            self._trial = optuna_study.load(self.study, self.number, pruner)
            known = self._trial.study.get_trials(deepcopy=False)[self.number]
            self._told = set(known.intermediate_values)
        except (
            Exception
        ) as error:  # of Optuna, SQLAlchemy and SQLite alike: a run is worth more than its report
            self._give_up(error)

    def on_epoch_end(self, loop: Control, record: Mapping[str, float]) -> None:
        """Report the epoch, and ask the loop to stop where the trial is poor."""
        if self._trial is None:
            return
        from trainer.sweep import optuna_study

        epoch, value = int(record["epoch"]), float(record[loop.monitor])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if epoch not in self._told:
                    self._trial.report(value if math.isfinite(value) else math.nan, epoch)
                    self._told.add(epoch)
                if not self._trial.should_prune():
                    return
                self._trial.set_user_attr(optuna_study.PRUNED, epoch)
        except Exception as error:  # as above
            self._give_up(error)
            return
        kind = type(self._trial.study.pruner).__name__
        loop.stop(f"pruned: trial {self.number} is poorer after epoch {epoch} than the study's {kind} allows")

    def on_train_end(self, loop: Control) -> None:
        """Let go of the study."""
        self._trial = None

    def _give_up(self, error: Exception) -> None:
        log.warning("%s takes no reports (%s): the trial is not pruned", self.study, error)
        self._trial = None
