"""The command `trainer`: compose, validate, hand over, turn errors into messages and exit statuses."""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainer import config
from trainer.errors import RunError, UsageError, nearest

log = logging.getLogger(__name__)

USER_ERRORS = (UsageError, HydraException, OmegaConfBaseException)
LEARNING_RATE_SCHEDULE = "schedule@schedule.learning_rate="
YAML_TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}
PLANNED_SCHEDULES = re.compile(r"^  - (schedule@[\w.]+):", re.MULTILINE)


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
    except Exception as error:
        if wanted == "1":
            traceback.print_exc()
        print(f"Error: {explain(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, USER_ERRORS) else 1)
    finally:
        os.environ["HYDRA_FULL_ERROR"] = wanted


def rewrite(argument: str) -> str:
    """Give an override the form that Hydra wants where the contract allows a shorter one.

    Experiments and debug settings are not in the defaults list, nor are schedules of hyperparameters that
    only a user's own rule has: Hydra wants a plus sign there.

    >>> rewrite("experiment=mnist_mlp"), rewrite("schedule@schedule.decay=linear"), rewrite("optimizer=adam")
    ('+experiment=mnist_mlp', '+schedule@schedule.decay=linear', 'optimizer=adam')
    """
    if argument.startswith(LEARNING_RATE_SCHEDULE):
        return argument.replace(LEARNING_RATE_SCHEDULE, "schedule=", 1)
    group = argument.split("=", 1)[0]
    if group in ("experiment", "debug"):
        return f"+{argument}"
    if group.startswith("schedule@") and "=" in argument:
        planned = PLANNED_SCHEDULES.findall((config.folder() / "config.yaml").read_text(encoding="utf-8"))
        return argument if group in planned else f"+{argument}"
    return argument


def explain(error: Exception) -> str:
    """Say in one sentence what an error means for the person who meets it."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} is not known: {nearest(name, error.options)}"
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override} is not KEY=VALUE: see trainer --help"
        return (
            f"{error.override} cannot be read as KEY=VALUE: quote a value that has spaces, commas or "
            "brackets, as in 'data.folder=\"my data\"'"
        )
    ambiguous = re.search(r"Ambiguous value for argument '(.*)'", str(error))
    if ambiguous:
        return f"{ambiguous.group(1)} has several values: add --multirun to sweep over them, or write [a,b]"
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _explain_key(cause, error)
    if isinstance(error, (*USER_ERRORS, RunError)):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where)"


def _explain_key(cause: OmegaConfBaseException, error: Exception) -> str:
    key = str(cause.full_key)
    parent = cause.parent_node
    name = key.rpartition(".")[2]
    if isinstance(parent, DictConfig) and name not in parent:
        known = [str(choice) for choice in parent if choice not in ("_target_", "hydra")]
        own = f"; to give your own function a key of its own: +{key}=..." if "_target_" in parent else ""
        return f"{key} is not a key: {nearest(name, known)}{own}"
    given = re.search(r"override \+*(\S+)", str(error))
    shown = given.group(1) if given else key
    wanted = re.search(r"could not be converted to (\w+)", str(cause.msg))
    if wanted:
        return f"{shown} has the wrong type: give {YAML_TYPES.get(wanted.group(1), wanted.group(1))}"
    reason = str(cause.msg or cause).splitlines()[0]
    return f"{shown}: {reason[:1].lower()}{reason[1:]}"


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
