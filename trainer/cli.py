"""The command `trainer`: compose, validate, hand over, turn errors into messages and exit statuses."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trainer import config
from trainer.commands.automatic import AUTO, begin_or_go_on, without_known
from trainer.commands.messages import USER_ERRORS, explain
from trainer.commands.overrides import refuse_merged, resumption, rewritten
from trainer.commands.saved import given_overrides, log_to, read_configuration, save_configuration
from trainer.errors import RunError
from trainer.folder_lock import RunLock
from trainer.sweep import Refused

log = logging.getLogger(__name__)


class Stopped(BaseException):
    """A signal stopped the run after its state was saved; not an `Exception`, so that a sweep stops too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def main() -> None:
    """Run the command with the process's arguments, and exit with the contract's status."""
    wanted = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then lets errors through, and they are told here
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    config.register()
    try:
        sys.argv[1:] = rewritten(sys.argv[1:])
        folder, others = resumption(sys.argv[1:])
        changes = others
        if folder == Path(AUTO):
            folder, others = begin_or_go_on(others)
            changes = others if folder is None else without_known(folder, others)
        if folder is None:
            sys.argv[1:] = others
            _compose_and_train()
        else:
            _resume(folder, changes, others)
    except Refused as refused:
        _complain(str(refused))
        sys.exit(2)
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
        _let_go_of_output()


def _complain(message: str) -> None:
    # Standard error may lie on the disk that is full.
    with contextlib.suppress(OSError):
        print(f"Error: {message}", file=sys.stderr, flush=True)


def _let_go_of_output() -> None:
    """Flush standard output, or leave it: Python would make a full disk an exit status of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _compose_and_train() -> None:
    """Let Hydra compose one run, or the jobs of a multirun, and train them."""
    failures: list[Exception] = []
    application = hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
    application(lambda composed: _job(composed, failures))()
    for failure in failures:
        raise failure


def _resume(folder: Path, overrides: Sequence[str], typed: Sequence[str]) -> None:
    """Go on with the run of a folder, its configuration changed by overrides that are among those typed."""
    composed = read_configuration(folder, overrides)
    # Before anything in the folder is changed; the run takes the lock again, and keeps it.
    RunLock(folder).release()
    log_to(folder)
    given = [*given_overrides(folder), *overrides]
    try:
        _train(composed, folder, given, resume=True, typed=typed)
    except Exception as error:
        trace = None if isinstance(error, (*USER_ERRORS, RunError)) else error
        log.error("%s", explain(error), exc_info=trace, extra={"shown": True})
        raise


def _job(composed: DictConfig, failures: list[Exception]) -> Any:
    """Train one job; note a single run's failure for `main` to tell, where Hydra would add lines."""
    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        hydra_config = HydraConfig.get()
        folder, given = Path(hydra_config.runtime.output_dir), list(hydra_config.overrides.task)
        refuse_merged(composed, hydra_config.runtime.choices)
        return _train(composed, folder, given)
    except Exception as error:
        trace = None if isinstance(error, (*USER_ERRORS, RunError)) else error
        log.error("%s", explain(error), exc_info=trace, extra={"shown": not is_sweep})
        if is_sweep:
            raise
        failures.append(error)
        return None


def _train(
    composed: DictConfig,
    folder: Path,
    overrides: Sequence[str],
    *,
    resume: bool = False,
    typed: Sequence[str] = (),
) -> float | None:
    """Train what was composed; return the best value of the monitored metric, which sweepers look at."""
    device = config.device_settings(composed)

    from trainer import runtime

    machine = runtime.prepare(**device)
    # What follows imports Theano, which had to be made ready first.
    from trainer import run
    from trainer.training import Interrupted, StopSignals

    trusted = list(composed.allowed_targets) if resume else None
    settings = config.interpret(composed, overrides, trusted, typed)

    def keep_configuration() -> None:
        if resume:
            save_configuration(folder, composed, overrides)

    with StopSignals() as signals:
        try:
            summary = run.train(
                settings, folder, machine, signals, resume=resume, on_accepted=keep_configuration
            )
        except Interrupted as interrupted:
            log.warning("stopped by %s before the first step", interrupted)
    if signals.received is not None:
        raise Stopped(signals.received)
    best: float | None = summary.get("best", {}).get(composed.training.monitor)
    return best
