"""The folder of a run or a sweep: one of its own, and never one that holds another's results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from trainer.errors import RunError, UsageError
from trainer.folder_lock import claim

# What only a run writes; a file of the user's, or Hydra's own, does not make a folder a run's.
LEFT_BY_RUNS = ("metrics.jsonl", "summary.json", "checkpoints")


class Refused(BaseException):
    """What ends the command before it begins; not an `Exception`, which Hydra would only warn of.

    Attributes
    ----------
    status : int
        The command's exit status; 2 for a mistake of the user's.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


class Folders(Callback):
    """Hydra calls this before it makes the folder of a run or a sweep.

    A folder that the configuration names by the time gets a number behind it where there is one of that name:
    two runs may start in the same second. One that the person named must hold no run; where it holds a sweep,
    that one goes on.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose the folder of a single run."""
        _choose(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose the folder of a sweep, and write down there what it is asked to do."""
        _choose(config, "sweep")
        try:
            _begin_sweep(config, Path(str(config.hydra.sweep.dir)))
        except UsageError as error:
            raise Refused(str(error)) from error
        except (RunError, OSError) as error:
            raise Refused(str(error), status=1) from error


def _choose(config: DictConfig, kind: str) -> None:
    folder = Path(str(config.hydra[kind].dir))
    named = any(str(given).startswith(f"hydra.{kind}.dir=") for given in config.hydra.overrides.hydra)
    if not named:
        lock = claim(folder)
        chosen = str(lock.folder)
        lock.release()
        with read_write(config), open_dict(config):
            config.hydra[kind].dir = chosen
            # A multirun composes each job's configuration anew from these.
            config.hydra.overrides.hydra.append(f"hydra.{kind}.dir='{chosen}'")
    elif any((folder / name).exists() for name in LEFT_BY_RUNS):
        raise Refused(
            f"hydra.{kind}.dir={folder} holds a run already: go on with it by resume={folder}, or choose "
            "another folder"
        )


def _begin_sweep(config: DictConfig, folder: Path) -> None:
    # Only a multirun needs these.
    from trainer.sweep.course import present_course
    from trainer.sweep.manifest import Manifest, is_sweep
    from trainer.sweep.resumption import joined

    manifest = Manifest.of(config, sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    if is_sweep(folder):
        manifest = joined(manifest, Manifest.read(folder), folder)
    course = present_course()
    if course is not None:
        course.begin(folder)
    manifest.write(folder)
