"""A job of a multirun, from what its folder holds already to the value that its sweeper is given."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainer.commands.messages import USER_ERRORS, explain
from trainer.commands.saved import save_configuration
from trainer.errors import RunError, UsageError
from trainer.loggers.curves import draw_curves
from trainer.loggers.drawing import draw
from trainer.loggers.json_lines import read_records
from trainer.loggers.screen import hushed
from trainer.sweep import begun
from trainer.sweep.begun import Begun, Foreign, Way
from trainer.sweep.course import present_course
from trainer.sweep.jobs import FINISHED
from trainer.sweep.leading import best_value, leads
from trainer.sweep.stopping import Stopped, is_marked

log = logging.getLogger(__name__)

_CURVES = "trainer.loggers.Curves"


@hushed()
def work(composed: DictConfig, hydra: DictConfig, train: Callable[..., Mapping[str, Any]]) -> Any:
    """Do what is left to do of a job; a failure is noted in its folder, and the other jobs go on.

    Parameters
    ----------
    composed : DictConfig
        The job's configuration.
    hydra : DictConfig
        Hydra's own.
    train : callable
        Given configuration, folder and overrides, and by name `resume`, `until` and `marked` (the sweep's
        folder, where a mark there is to stop the job) and `leads` (whether the job is the best so far), it
        trains, and returns the run's summary.

    Returns
    -------
    float or None
        The best value of the monitored metric; None where there is none, or the job failed or was stopped.

    Raises
    ------
    Stopped
        Where a signal ended the multirun, and this is the process that launched it.
    """
    folder, sweep = Path(hydra.runtime.output_dir), Path(hydra.sweep.dir)
    elsewhere = present_course() is None
    if elsewhere and is_marked(sweep):
        begun.leave_unbegun(folder)
        return None
    try:
        summary = _do(composed, hydra, folder, sweep if elsewhere else None, train)
        return best_value(summary, composed.training.monitor)
    except Stopped:
        # Another process is told by the state in the folder; what is raised there ends its other jobs.
        if elsewhere:
            return None
        raise
    except Foreign as error:
        log.error("%s", explain(error))
        begun.note_refusal(folder, explain(error), 2)
    except Exception as error:
        trace = None if isinstance(error, (*USER_ERRORS, RunError)) else error
        log.error("%s", explain(error), exc_info=trace)
        begun.note_failure(folder, explain(error), 2 if isinstance(error, USER_ERRORS) else 1)
    return None


def _do(
    composed: DictConfig,
    hydra: DictConfig,
    folder: Path,
    marked: Path | None,
    train: Callable[..., Mapping[str, Any]],
) -> Mapping[str, Any]:
    given = [str(override) for override in hydra.overrides.task]
    until = OmegaConf.select(hydra, "sweeper.until")
    way = begun.way_of_member(folder, until) if until is not None else _way(composed, folder, given)
    if way is Way.NOTHING:
        log.info("nothing is left to do: the run is in the folder already")
        _draw_what_is_missing(composed, folder)
        return begun.read_summary(folder)
    if way is Way.ANEW:
        begun.clear(folder)
    best = partial(leads, folder)
    summary = train(composed, folder, given, resume=way is Way.GO_ON, marked=marked, until=until, leads=best)
    return summary or begun.read_summary(folder)


def _draw_what_is_missing(composed: DictConfig, folder: Path) -> None:
    """Draw the curves of a run that has ended, where its process was killed before it did."""
    logger = OmegaConf.select(composed, "logger.curves")
    path, records = folder / "curves.png", folder / "metrics.jsonl"
    if logger is None or logger.get("_target_") != _CURVES or path.exists() or not records.exists():
        return
    summary, training = begun.read_summary(folder), composed.training
    monitor, mode = str(training.monitor), str(training.mode)
    if summary.get("status") not in FINISHED:
        return
    if logger.get("in_sweeps") == "all" or leads(folder, summary, monitor, mode):
        try:
            draw(path, draw_curves, read_records(records), path, _title(composed), monitor, mode)
        except UsageError as error:
            log.warning("%s is not drawn: %s", path, error)


def _title(composed: DictConfig) -> str:
    nodes = (composed.model, composed.data, composed.optimizer)
    model, data, rule = (str(node.get("_target_")).rpartition(".")[2] for node in nodes)
    return f"{model} on {data}, {rule}"


def _way(composed: DictConfig, folder: Path, given: list[str]) -> Way:
    """Return what is left to do; where that is nothing, the folder tells again of the run that it holds."""
    begun.forget_refusal(folder)
    plain = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(plain, dict)
    asked = Begun({str(key): value for key, value in plain.items()}, given)
    try:
        way = asked.way(folder)
    except Foreign:
        _put_back(folder, asked)
        raise
    if way is Way.NOTHING:
        _put_back(folder, asked)
    return way


def _put_back(folder: Path, asked: Begun) -> None:
    """Write the configuration of the run that a folder holds, over which Hydra has written another."""
    try:
        known = Begun.read(folder)
    except Foreign:
        return
    if known is not None and known != asked:
        save_configuration(folder, OmegaConf.create(dict(known.configuration)), known.overrides)
