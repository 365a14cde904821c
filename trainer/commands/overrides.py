"""The forms of an override that the contract allows beside Hydra's own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from trainer import config
from trainer.errors import UsageError, nearest
from trainer.runtime.devices import check_form

LEARNING_RATE_SCHEDULE = "schedule@schedule.learning_rate="
LINKS = re.compile(rf"({'|'.join(config.CHAINS)})=\[([^\[\]]*)\]")
SWEPT_CHAIN = re.compile(rf"({'|'.join(config.CHAINS)})=[^{{}}]*\[[^\[\]{{}}]*\][^{{}}]*")
DEVICE = re.compile(r"device=((cuda)\d+|(opencl)\d+:\d+)")
DEVICE_LIKE = re.compile(r"device=((?:gpu|cuda|opencl)[\d:]+|gpu)")
LOGGERS = re.compile(r"logger=(\[[^\[\]]*\]|[^\[\],]+)")
# What YAML reads as a number or a truth value, where Hydra wants a choice's name.
SCALAR = re.compile(r"[+-]?(\d[\d_]*(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan|true|false", re.IGNORECASE)
PLANNED = re.compile(r"^  - (\w+@[\w.]+):", re.MULTILINE)


def rewritten(arguments: Sequence[str]) -> list[str]:
    """Give overrides the form that Hydra wants where the contract allows a shorter one.

    A list of choices is a chain, whose links go by the choices' names; a device may be named with its number.

    >>> rewritten(["optimizer=adam", "clipping=[value,norm]"])
    ['optimizer=adam', 'clipping=none', '+clipping@clipping.value=value', '+clipping@clipping.norm=norm']
    >>> rewritten(["device=cuda1"])
    ['device=cuda', 'device.name=cuda1']

    Raises
    ------
    UsageError
        Where a chain has two links of one name, and where a number is given for a choice's name.
    """
    return [form for argument in arguments for form in _forms(argument)]


def rewrite(argument: str) -> str:
    """Give an override that stands for one of Hydra's the form that Hydra wants.

    Experiments and debug settings are not in the defaults list, nor are schedules of hyperparameters that
    only a user's own rule has, nor the links of a chain (`clipping@clipping.first=value`): Hydra wants a plus
    sign there. A formula is put between quotes, and `GROUP=null` means its choice `none`.

    >>> rewrite("experiment=mnist_mlp"), rewrite("schedule@schedule.decay=linear"), rewrite("optimizer=adam")
    ('+experiment=mnist_mlp', '+schedule@schedule.decay=linear', 'optimizer=adam')
    >>> rewrite("schedule.learning_rate.formula=initial * (1 - progress)"), rewrite("wrapper=null")
    ('schedule.learning_rate.formula="initial * (1 - progress)"', 'wrapper=none')
    """
    if argument.startswith(LEARNING_RATE_SCHEDULE):
        return argument.replace(LEARNING_RATE_SCHEDULE, "schedule=", 1)
    group, _, value = argument.partition("=")
    if group.endswith(".formula") and value[:1] not in ("", "'", '"'):
        escaped = value.replace('"', '\\"')
        return f'{group}="{escaped}"'
    if value == "null" and (config.folder() / group).is_dir():
        choices = [path.stem for path in (config.folder() / group).glob("*.yaml")]
        if "none" not in choices:
            raise UsageError(f"{argument} is no choice: {nearest(value, choices)}")
        return f"{group}=none"
    if group in ("experiment", "debug"):
        return f"+{argument}"
    if "@" in group and "=" in argument and not group.startswith("+"):
        planned = PLANNED.findall((config.folder() / "config.yaml").read_text(encoding="utf-8"))
        return argument if group in planned else f"+{argument}"
    return argument


def _merged(group: str) -> UsageError:
    return UsageError(
        f"{group} is a list of choices among others of a sweep: name each link, as in "
        f"{group}@{group}.first=..."
    )


def _with_default(argument: str) -> str:
    """Put the default loggers before those that are chosen beside them.

    Each of ours is one more destination; a file of the user's own may be a whole set.

    >>> _with_default("logger=[csv,mlflow]"), _with_default("logger=my_set")
    ('logger=[default,csv,mlflow]', 'logger=my_set')
    """
    chosen = LOGGERS.fullmatch(argument)
    names = [name.strip() for name in chosen[1].strip("[]").split(",")] if chosen else []
    shipped = {path.stem for path in (config.folder() / "logger").glob("*.yaml")}
    if "default" in names or not shipped.intersection(names):
        return argument
    return f"logger=[{','.join(['default', *names])}]"


def _refuse_scalars(argument: str) -> None:
    key, _, value = argument.lstrip("+").partition("=")
    group = key.partition("@")[0]
    folder = config.folder() / group
    if not group or "." in group or not folder.is_dir():
        return
    for name in value.strip("[]").split(","):
        if SCALAR.fullmatch(name.strip()):
            choices = [path.stem for path in folder.glob("*.yaml")]
            raise UsageError(f"{argument} names no choice: {nearest(name.strip(), choices)}")


def _forms(argument: str) -> list[str]:
    _refuse_scalars(argument)
    if device := DEVICE.fullmatch(argument):
        return [f"device={device[2] or device[3]}", f"device.name={device[1]}"]
    if wrong := DEVICE_LIKE.fullmatch(argument):
        check_form(wrong[1], "device")
    chain = LINKS.fullmatch(argument)
    if chain is None and SWEPT_CHAIN.fullmatch(argument):
        raise _merged(argument.partition("=")[0])
    if chain is None:
        return [_with_default(rewrite(argument))]
    group, names = chain[1], [name.strip() for name in chain[2].split(",") if name.strip()]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"{argument} has {name} twice: give each a name of its own, as in "
                f"{group}@{group}.first={name} {group}@{group}.second={name}"
            )
    return [f"{group}=none", *(f"+{group}@{group}.{name}={name}" for name in names)]


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
