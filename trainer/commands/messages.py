"""Errors told in one sentence, and the exit statuses that go with them."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainer.commands.faults import explain_fault
from trainer.errors import RunError, UsageError, nearest

USER_ERRORS = (UsageError, HydraException, OmegaConfBaseException)
LONGEST = 1600  # characters of a message: a value that it quotes may be of any length
YAML_TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def reported(command: Callable[[], None]) -> int:
    """Run a command; return 0, or tell its error and return 1, or 2 for a mistake of the user's."""
    try:
        command()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            traceback.print_exc()
        print(f"Error: {explain(error)}", file=sys.stderr)
        return 2 if isinstance(error, USER_ERRORS) else 1
    return 0


def explain(error: Exception) -> str:
    """Say in one sentence what an error means for the person who meets it."""
    said = _explain(error)
    half = LONGEST // 2
    return said if len(said) <= LONGEST else f"{said[:half]} … {said[-half:]}"


def _explain(error: Exception) -> str:
    if isinstance(error, (UsageError, RunError)):
        return " ".join(str(error).split())
    fault = explain_fault(error)
    if fault is not None:
        return fault
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name} is not known: {nearest(name, error.options)}"
    if isinstance(error, OverrideParseException):
        if "=" not in error.override:
            return f"{error.override} is not KEY=VALUE: see trainer --help"
        return f"{error.override} cannot be read as KEY=VALUE: {_how_to_quote(error.override)}"
    if "does not support sweep type" in str(error):
        return (
            "an interval has no list of values to go through: add hydra/sweeper=optuna, which proposes "
            "values from it, or give a list, as in KEY=A,B, or range(START,STOP,STEP)"
        )
    ambiguous = re.search(r"Ambiguous value for argument '(.*)'", str(error))
    if ambiguous:
        return f"{ambiguous.group(1)} has several values: add --multirun to sweep over them, or write [a,b]"
    if isinstance(error, UsageError):
        return " ".join(str(error).split())
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return _explain_key(cause, error)
    if isinstance(error, USER_ERRORS):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where)"


def _how_to_quote(override: str) -> str:
    key, _, value = override.partition("=")
    if value[:1] in ("[", "{"):
        return (
            "close each bracket, and put the whole between single quotes, so that the shell leaves it in one "
            f"piece: '{key}={value[:1]}...{']' if value[0] == '[' else '}'}'"
        )
    shown = "my value" if "'" in value or '"' in value else value
    return f"quote a value that has spaces, commas or brackets: '{key}=\"{shown}\"'"


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
    if "Cannot merge DictConfig with ListConfig" in reason:
        return f"{key} is a list, and a mapping was given: put it between brackets, as in '{key}=[{{...}}]'"
    return f"{shown}: {reason[:1].lower()}{reason[1:]}"
