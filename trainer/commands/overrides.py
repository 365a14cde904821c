"""The forms of an override that the contract allows beside Hydra's own."""

from __future__ import annotations

import re

from trainer import config

LEARNING_RATE_SCHEDULE = "schedule@schedule.learning_rate="
PLANNED_SCHEDULES = re.compile(r"^  - (schedule@[\w.]+):", re.MULTILINE)


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
