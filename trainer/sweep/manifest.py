"""`sweep.json`: what a sweep was asked to do, in its folder from its start on."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from trainer.checked_yaml import read_plain
from trainer.errors import UsageError
from trainer.loggers.atomic import write_atomically
from trainer.loggers.strict_json import to_json
from trainer.sweep.space import read_words

NAME = "sweep.json"
_BY_HYDRA = "multirun.yaml"
_LARGEST = 2**22
# What says where and how the sweep runs now.
_NOT_KEPT = ("hydra.sweep.dir=", "hydra.mode=")
_FLAGS = {"config_dir": "--config-dir", "config_name": "--config-name", "config_path": "--config-path"}


@dataclass(frozen=True)
class Manifest:
    """What a sweep was asked to do.

    Attributes
    ----------
    overrides : tuple of str
        Those that were given, in Hydra's form and in their order, those for Hydra itself too; without the
        sweep's folder.
    search_space : mapping
        What was given for each key that has more than one value, or values to draw from.
    sweeper, launcher : str
        Hydra's choices.
    monitor, mode : str
        The metric that decides which job is the best, and whether its `min` or its `max` does, where jobs
        are not given others.
    total : int or None
        How many jobs there will be; None where the sweeper alone knows.
    epochs : int or None
        How many each trains, where jobs are not given others.
    flags : tuple of str
        The command's flags that say which configurations are read.
    """

    overrides: tuple[str, ...]
    search_space: Mapping[str, str]
    sweeper: str = "basic"
    launcher: str = "basic"
    monitor: str = "validation/loss"
    mode: str = "min"
    total: int | None = None
    epochs: int | None = None
    flags: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: DictConfig, arguments: Sequence[str] = ()) -> Manifest:
        """Return what Hydra's configuration of a multirun and the command's arguments say.

        Raises
        ------
        UsageError
            Where a key has no values to sweep over.
        """
        given = config.hydra.overrides
        overrides = [*map(str, given.hydra), *map(str, given.task)]
        choices = config.hydra.runtime.choices
        sweeper = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
        assert isinstance(sweeper, dict)
        words = read_words(_kept(overrides))
        parameters = sweeper.get("params") or {}
        swept = read_words(f"{key}={value}" for key, value in parameters.items())
        swept = {key: word for key, word in {**swept, **words}.items() if word.is_swept}
        for key, word in swept.items():
            if word.values is not None and not word.values:
                raise UsageError(f"{key}={word.value} has no values, and so there are no jobs: give one")
        name = str(choices.get("hydra/sweeper"))
        counts = [len(word.values) if word.values is not None else 0 for word in swept.values()]
        limit = sweeper.get("n_trials", sweeper.get("members"))
        return cls(
            overrides=_kept(overrides),
            search_space={key: word.value for key, word in swept.items()},
            sweeper=name,
            launcher=str(choices.get("hydra/launcher")),
            monitor=config.training.monitor,
            mode=config.training.mode,
            total=(math.prod(counts) or None) if name == "basic" else limit,
            epochs=config.training.epochs,
            flags=flags_of(arguments),
        )

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read what a sweep was asked to do from its folder.

        Where `sweep.json` is missing or damaged, Hydra's `multirun.yaml` says it too.

        Raises
        ------
        UsageError
            Where the folder is none of a sweep, or both files are damaged.
        """
        path = folder / NAME
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError("it is larger than any")
            content = json.loads(path.read_bytes())
            return cls(**{**_checked(content), "overrides": tuple(content["overrides"])})
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            try:
                return _of_hydra(folder / _BY_HYDRA)
            except (UsageError, KeyError, TypeError, AttributeError):
                if isinstance(error, FileNotFoundError) and not (folder / _BY_HYDRA).exists():
                    raise UsageError(_no_sweep(folder)) from None
                raise UsageError(
                    f"{path} cannot be read ({error}), and {folder / _BY_HYDRA} neither: give the sweep's "
                    "whole command once more, with another folder"
                ) from error

    def write(self, folder: Path) -> None:
        """Write `sweep.json`, whole or not at all."""
        content = {**asdict(self), "command": self.command}
        write_atomically(folder / NAME, (to_json(content, indent=2) + "\n").encode())

    @property
    def command(self) -> str:
        """The command that starts the same sweep anew, ready for a shell."""
        return shlex.join(["trainer", "--multirun", *self.flags, *self.overrides])


def is_sweep(folder: Path) -> bool:
    """Tell whether a folder has what a multirun leaves there."""
    return any((folder / name).is_file() for name in (NAME, _BY_HYDRA))


def flags_of(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the flags among a command's arguments that say which configurations are read.

    >>> flags_of(["-m", "optimizer=sgd,adam", "--config-dir", "conf"])
    ('--config-dir', 'conf')
    """
    given, _ = get_args_parser().parse_known_args(list(arguments))
    values = {flag: getattr(given, name) for name, flag in _FLAGS.items()}
    return tuple(word for flag, value in values.items() if value for word in (flag, str(value)))


def _kept(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in overrides if not word.startswith(_NOT_KEPT))


def _checked(content: Any) -> dict[str, Any]:
    """Return the fields of a `sweep.json`, each of its type."""
    texts = ("sweeper", "launcher", "monitor", "mode")
    lists = ("overrides", "flags")
    numbers = ("total", "epochs")
    known = {key: content[key] for key in ("search_space", *texts, *lists, *numbers) if key in content}
    if not isinstance(known["search_space"], dict):
        raise ValueError("search_space is no mapping")
    for key in texts:
        if not isinstance(known.get(key, ""), str):
            raise ValueError(f"{key} is no text")
    for key in lists:
        if not all(isinstance(word, str) for word in known.get(key, [])):
            raise ValueError(f"{key} is no list of texts")
        known[key] = tuple(known.get(key, []))
    for key in numbers:
        if not isinstance(known.get(key), (int, type(None))):
            raise ValueError(f"{key} is no whole number")
    return known


def _of_hydra(path: Path) -> Manifest:
    content = read_plain(path)
    hydra = content["hydra"]
    overrides = _kept([*map(str, hydra["overrides"]["hydra"]), *map(str, hydra["overrides"]["task"])])
    swept = {key: word.value for key, word in read_words(overrides).items() if word.is_swept}
    choices = hydra["runtime"]["choices"]
    training = content["training"]
    return Manifest(
        overrides=overrides,
        search_space=swept,
        sweeper=str(choices["hydra/sweeper"]),
        launcher=str(choices["hydra/launcher"]),
        monitor=str(training["monitor"]),
        mode=str(training["mode"]),
        epochs=training["epochs"],
    )


def _no_sweep(folder: Path) -> str:
    if not folder.exists():
        return f"there is no folder {folder}: name the folder of a sweep, as multirun/DATE/TIME"
    if (folder / ".hydra").is_dir():
        parent = folder.parent
        beside = f", and sweep.resume={parent} with its sweep" if is_sweep(parent) else ""
        return f"{folder} is the folder of one run: resume={folder} goes on with it{beside}"
    return f"{folder} is not the folder of a sweep: it has neither {NAME} nor {_BY_HYDRA}"
