"""The forms of an override that the contract allows beside Hydra's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainer import config
from trainer.errors import UsageError

LEARNING_RATE_SCHEDULE = "schedule@schedule.learning_rate="
PLANNED = re.compile(r"^  - (\w+@[\w.]+):", re.MULTILINE)


def rewrite(argument: str) -> str:
    """Give an override the form that Hydra wants where the contract allows a shorter one.

    Experiments and debug settings are not in the defaults list, nor are schedules of hyperparameters that
    only a user's own rule has, nor the links of a chain (`clipping@clipping.first=value`): Hydra wants a plus
    sign there.

    >>> rewrite("experiment=mnist_mlp"), rewrite("schedule@schedule.decay=linear"), rewrite("optimizer=adam")
    ('+experiment=mnist_mlp', '+schedule@schedule.decay=linear', 'optimizer=adam')
    """
    if argument.startswith(LEARNING_RATE_SCHEDULE):
        return argument.replace(LEARNING_RATE_SCHEDULE, "schedule=", 1)
    group = argument.split("=", 1)[0]
    if group in ("experiment", "debug"):
        return f"+{argument}"
    if "@" in group and "=" in argument and not group.startswith("+"):
        planned = PLANNED.findall((config.folder() / "config.yaml").read_text(encoding="utf-8"))
        return argument if group in planned else f"+{argument}"
    return argument


def resumption(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder of the run that is to go on, if any, and the other arguments.

    >>> resumption(["resume=outputs/a", "training.epochs=50"])
    (PosixPath('outputs/a'), ['training.epochs=50'])

    Raises
    ------
    UsageError
        Where a flag of Hydra's stands beside it.
    """
    folders = [argument.partition("=")[2] for argument in arguments if argument.startswith("resume=")]
    others = [argument for argument in arguments if not argument.startswith("resume=")]
    if not folders or folders[-1] in ("", "null"):
        return None, list(arguments)
    for argument in others:
        if argument.startswith("-"):
            raise UsageError(
                f"resume={folders[-1]} goes on with one run and takes KEY=VALUE beside it, not {argument}"
            )
    return Path(folders[-1]), others
