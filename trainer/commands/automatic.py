"""`resume=auto`: one command that begins a run, and goes on with it where its folder has one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.commands.saved import given_overrides
from trainer.errors import UsageError
from trainer.sweep.folders import LEFT_BY_RUNS

AUTO = "auto"
_FOLDER = "hydra.run.dir="


def begin_or_go_on(arguments: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Return the folder of the run to go on with, and the overrides of its configuration.

    Parameters
    ----------
    arguments : sequence of str
        The command's arguments beside `resume=auto`, in Hydra's form; one names the folder.

    Returns
    -------
    folder : Path or None
        None where the folder has no run: then it is begun.
    overrides : list of str
        The arguments; without those for Hydra itself, which a run that goes on does not need.

    Raises
    ------
    UsageError
        Where no folder is named.
    """
    folders = [argument.removeprefix(_FOLDER) for argument in arguments if argument.startswith(_FOLDER)]
    if not folders or not folders[-1] or "${" in folders[-1]:
        raise UsageError(
            f"resume={AUTO} needs the run's folder, the same each time: name it, as in {_FOLDER}runs/first"
        )
    folder = Path(folders[-1].strip("'\""))
    if not any((folder / name).exists() for name in LEFT_BY_RUNS):
        return None, list(arguments)
    return folder, [argument for argument in arguments if not argument.startswith(("hydra.", "hydra/"))]


def without_known(folder: Path, overrides: Sequence[str]) -> list[str]:
    """Return the overrides that change something: a run was given the others when it began, or since then.

    `allowed_targets` is always among them, since no run keeps it.
    """
    known = {_key(given): given for given in given_overrides(folder)}
    return [
        override
        for override in overrides
        if _key(override) == "allowed_targets" or known.get(_key(override)) != override
    ]


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]
