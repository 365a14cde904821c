"""`sweep.resume=FOLDER`: the command of a sweep that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra._internal.utils import get_args_parser

from trainer.errors import UsageError
from trainer.sweep.manifest import Manifest, flags_of
from trainer.sweep.space import EPOCHS, Word, differences, is_of_the_machine, read_words, settled

RESUME = "sweep.resume="
_MULTIRUN = ("-m", "--multirun")
_FOLDER = "hydra.sweep.dir="


def sweep_command(arguments: Sequence[str]) -> list[str]:
    """Return the arguments for Hydra, in which `sweep.resume` no longer stands.

    A sweep that goes on is given what it was given at its start, in that order, and the changes that leave it
    the same sweep: its jobs keep their numbers and folders.

    Parameters
    ----------
    arguments : sequence of str
        The command's arguments, in Hydra's form.

    Raises
    ------
    UsageError
        Where the folder is none of a sweep, or another search is asked for.
    """
    folders = [argument.partition("=")[2] for argument in arguments if _is_resume(argument)]
    others = [argument for argument in arguments if not _is_resume(argument)]
    words, flags = _split(others)
    if not folders or folders[-1] in ("", "null"):
        # Hydra reads flags before the first override alone.
        return [*flags, *settled(words)]
    folder = Path(folders[-1].strip("'\""))
    if not any(flag in flags for flag in _MULTIRUN):
        raise UsageError(
            f"{RESUME}{folder} goes on with a sweep: add --multirun; one run goes on by resume=FOLDER"
        )
    manifest = Manifest.read(folder)
    named = [word.partition("=")[2] for word in words if word.startswith(_FOLDER)]
    if named and Path(named[-1].strip("'\"")).absolute() != folder.absolute():
        raise UsageError(f"{RESUME}{folder} names the sweep's folder: leave {_FOLDER}{named[-1]} out")
    words = [word for word in words if not word.startswith((_FOLDER, "hydra.mode="))]
    chosen = () if flags_of(flags) else manifest.flags
    return [*flags, *chosen, *continued(manifest, words, folder), f"{_FOLDER}{quoted(folder)}"]


def continued(manifest: Manifest, words: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the overrides of a sweep that goes on: its own, changed by those given now.

    Those that say what is searched are given whole, as at its start, or not at all. The others, which concern
    the machine, are changed one by one, as is a greater number of epochs.

    Raises
    ------
    UsageError
        Where another search is asked for: the message names each key, what was given then, and what now.
    """
    then, now = read_words(manifest.overrides), read_words(words)
    _check_epochs(manifest, then, now, folder)
    is_changed = {key for key in now if is_of_the_machine(key) or key == EPOCHS}
    if now.keys() - is_changed:
        # What was typed comes first, before what was left out.
        keys = [*(key for key in now if key in then), *then]
        bound = {key: then[key] for key in keys if key != EPOCHS}
        found = differences(bound, {key: word for key, word in now.items() if key != EPOCHS})
        if found:
            raise UsageError(
                f"{folder} has searched something else: {'; '.join(found)}. Give what was given then, or "
                f"nothing but --multirun {RESUME}{folder}, or begin a new sweep without {RESUME[:-1]}"
            )
    kept = [now[key].text if key in is_changed else word.text for key, word in then.items()]
    return (*kept, *(now[key].text for key in now if key in is_changed and key not in then))


def joined(manifest: Manifest, known: Manifest, folder: Path) -> Manifest:
    """Return what a sweep is asked to do that is started in the folder of a known one: the same, once more.

    Raises
    ------
    UsageError
        As `continued` does.
    """
    overrides = continued(known, manifest.overrides, folder)
    if manifest.sweeper != known.sweeper:
        raise UsageError(f"{folder} was searched by hydra/sweeper={known.sweeper}: go on with that one")
    return replace(manifest, overrides=overrides)


def quoted(folder: Path) -> str:
    """Return a folder's name as a value that Hydra reads as it stands."""
    return "'" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_resume(argument: str) -> bool:
    return argument.lstrip("+").startswith(RESUME)


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the overrides among a command's arguments, and the flags with their values."""
    words = list(get_args_parser().parse_intermixed_args(list(arguments)).overrides)
    flags = list(arguments)
    for word in words:
        flags.remove(word)
    return words, flags


def _check_epochs(manifest: Manifest, then: dict[str, Word], now: dict[str, Word], folder: Path) -> None:
    """Refuse another number of epochs, unless it is a greater one and the jobs are compared at their ends."""
    before, after = then.get(EPOCHS), now.get(EPOCHS)
    if after is None or (before is not None and before.is_same(after)):
        return
    had = before.value if before else str(manifest.epochs)
    if after.value == had:
        return
    wrong = f"{EPOCHS}={after.value}, where {folder} has {had}"
    if after.is_swept or (before and before.is_swept):
        raise UsageError(f"{folder} has searched something else: {EPOCHS} was {had}, now {after.value}")
    if manifest.sweeper != "basic":
        raise UsageError(f"{wrong}: {manifest.sweeper} has judged jobs by {had} epochs; begin a new sweep")
    if not (after.value.isdigit() and had.isdigit() and int(after.value) > int(had)):
        raise UsageError(f"{wrong}: a sweep goes on to more epochs, and never to fewer")
