"""The command `trainer`: compose, validate, hand over, turn errors into messages and exit statuses."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from trainer import config
from trainer.commands.messages import USER_ERRORS, explain
from trainer.commands.overrides import rewrite
from trainer.errors import RunError

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
    sys.argv[1:] = [rewrite(argument) for argument in sys.argv[1:]]
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    config.register()
    failures: list[Exception] = []
    application = hydra.main(version_base="1.3", config_path=str(config.folder()), config_name="config")
    try:
        application(lambda composed: _job(composed, failures))()
        for failure in failures:
            raise failure
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
        print(f"Error: {explain(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, USER_ERRORS) else 1)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def _job(composed: DictConfig, failures: list[Exception]) -> Any:
    """Train one job; note a single run's failure for `main` to tell, where Hydra would add lines."""
    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    try:
        return _train(composed)
    except Exception as error:
        trace = None if isinstance(error, (*USER_ERRORS, RunError)) else error
        log.error("%s", explain(error), exc_info=trace, extra={"shown": not is_sweep})
        if is_sweep:
            raise
        failures.append(error)
        return None


def _train(composed: DictConfig) -> float | None:
    """Train what was composed; return the best value of the monitored metric, which sweepers look at."""
    device = config.device_settings(composed)
    hydra_config = HydraConfig.get()

    from trainer import runtime

    machine = runtime.prepare(**device)
    # What follows imports Theano, which had to be made ready first.
    from trainer import run
    from trainer.training import StopSignals

    settings = config.interpret(composed, list(hydra_config.overrides.task))
    with StopSignals() as signals:
        summary = run.train(settings, Path(hydra_config.runtime.output_dir), machine, signals)
    if signals.received is not None:
        raise Stopped(signals.received)
    best: float | None = summary["best"].get(composed.training.monitor)
    return best
