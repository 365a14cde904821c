"""The command `trainer`: compose, validate, hand over, turn errors into messages and exit statuses."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trainer import config
from trainer.commands.automatic import AUTO, begin_or_go_on, without_known
from trainer.commands.job import work
from trainer.commands.messages import USER_ERRORS, explain
from trainer.commands.overrides import resumption, rewritten
from trainer.commands.saved import given_overrides, log_to, read_configuration, save_configuration
from trainer.errors import RunError
from trainer.folder_lock import RunLock
from trainer.loggers.drawing import drawn_beside
from trainer.sweep import Refused
from trainer.sweep.course import course, job_folders, present_course
from trainer.sweep.ending import ending, how_to_go_on
from trainer.sweep.live import end as end_live
from trainer.sweep.loading import our_loader
from trainer.sweep.resumption import sweep_command
from trainer.sweep.stopping import Stopped, when_marked

log = logging.getLogger(__name__)


def main() -> None:
    """Run the command with the process's arguments, and exit with the contract's status."""
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets errors through, and they are told here
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    config.register()
    try:
        sys.argv[1:] = sweep_command(rewritten(sys.argv[1:]))
        folder, others = resumption(sys.argv[1:])
        changes = others
        if folder == Path(AUTO):
            folder, others = begin_or_go_on(others)
            changes = others if folder is None else without_known(folder, others)
        if folder is None:
            sys.argv[1:] = others
            status = _compose_and_train()
            if status:
                sys.exit(status)
        else:
            _resume(folder, changes, others)
    except Refused as refused:
        _complain(str(refused))
        sys.exit(refused.status)
    except Stopped as stopped:
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone, as `head` does; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except Exception as error:
        if wanted == "1":
            traceback.print_exc()
        _complain(explain(error))
        sys.exit(2 if isinstance(error, USER_ERRORS) else 1)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted
        if "trainer.workshop" in sys.modules:
            sys.modules["trainer.workshop"].of_process.cache_clear()
        _let_go_of_output()


def _complain(message: str) -> None:
    _tell(f"Error: {message}")


def _tell(message: str) -> None:
    # Standard error may lie on the disk that is full.
    with contextlib.suppress(OSError):
        print(message, file=sys.stderr, flush=True)


def _let_go_of_output() -> None:
    """Flush standard output, or leave it: Python would make a full disk an exit status of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _compose_and_train() -> int:
    """Let Hydra compose one run, or the jobs of a multirun, and train them; return the exit status."""
    failures: list[Exception] = []
    application = hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
    stopped: BaseException | None = None
    with course() as multirun, drawn_beside(present_course), our_loader():
        try:
            application(partial(_job, failures=failures))()
        except Exception:
            # What a launcher makes of jobs that were stopped is not what happened.
            if multirun.received is None:
                end_live()
                _tell_ending(multirun.folder)
                raise
        except (Stopped, KeyboardInterrupt) as error:
            stopped = error
        finally:
            multirun.launched()
            end_live()
        if stopped is None and multirun.received is not None:
            stopped = Stopped(multirun.received)
        if stopped is not None:
            if multirun.folder is not None:
                _tell(f"Stopped: {how_to_go_on(multirun.folder)} goes on with it")
            raise stopped
    for failure in failures:
        raise failure
    return _tell_ending(multirun.folder)


def _tell_ending(folder: Path | None) -> int:
    """Say what is wrong with the jobs that a multirun has begun; return the exit status that says so too."""
    if folder is None or not job_folders(folder):
        return 0
    told, status = ending(folder)
    if told:
        _complain(told)
    return status


def _resume(folder: Path, overrides: Sequence[str], typed: Sequence[str]) -> None:
    """Go on with the run of a folder, its configuration changed by overrides that are among those typed."""
    composed = read_configuration(folder, overrides)
    # Before anything in the folder is changed; the run takes the lock again, and keeps it.
    RunLock(folder).release()
    log_to(folder)
    given = [*given_overrides(folder), *overrides]
    try:
        _train(
            composed,
            folder,
            given,
            resume=True,
            trusted=list(composed.allowed_targets),
            typed=typed,
            on_accepted=lambda: save_configuration(folder, composed, given),
        )
    except Exception as error:
        trace = None if isinstance(error, (*USER_ERRORS, RunError)) else error
        log.error("%s", explain(error), exc_info=trace, extra={"shown": True})
        raise


def _job(composed: DictConfig, failures: list[Exception]) -> Any:
    """Train one job; note a single run's failure for `main` to tell, where Hydra would add lines."""
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        return work(composed, cast(DictConfig, hydra_config), _train)
    try:
        folder, given = Path(hydra_config.runtime.output_dir), list(hydra_config.overrides.task)
        _train(composed, folder, given)
    except Exception as error:
        trace = None if isinstance(error, (*USER_ERRORS, RunError)) else error
        log.error("%s", explain(error), exc_info=trace, extra={"shown": True})
        failures.append(error)
    return None


def _train(
    composed: DictConfig,
    folder: Path,
    overrides: Sequence[str],
    *,
    resume: bool = False,
    marked: Path | None = None,
    trusted: Sequence[str] | None = None,
    typed: Sequence[str] = (),
    on_accepted: Callable[[], object] = lambda: None,
    until: int | None = None,
    leads: Callable[[Mapping[str, Any], str, str], bool] = lambda summary, monitor, mode: True,
) -> Mapping[str, Any]:
    """Train what was composed, and return the run's summary; a mark in `marked` stops it."""
    device = config.device_settings(composed)

    from trainer import runtime

    machine = runtime.prepare(**device)
    # What follows imports Theano, which had to be made ready first.
    from trainer import run
    from trainer.sweep.optuna_pruning import reporting
    from trainer.training import Interrupted, StopSignals
    from trainer.workshop import of_process

    settings = reporting(config.interpret(composed, overrides, trusted, typed))
    summary: Mapping[str, Any] = {}
    with StopSignals() as signals, when_marked(marked, signals.receive):
        try:
            summary = run.train(
                settings,
                folder,
                machine,
                signals,
                resume=resume,
                on_accepted=on_accepted,
                workshop=of_process(),
                until=until,
                leads=leads,
            )
        except Interrupted as interrupted:
            log.warning("stopped by %s before the first step", interrupted)
    if signals.received is not None:
        raise Stopped(signals.received)
    return summary
