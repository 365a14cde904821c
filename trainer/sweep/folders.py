"""The folder of a run or a sweep: one of its own, and never one that holds another's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from trainer.folder_lock import claim

# What only a run writes; a file of the user's, or Hydra's own, does not make a folder a run's.
LEFT_BY_RUNS = ("metrics.jsonl", "summary.json", "checkpoints")


class Refused(BaseException):
    """A mistake of the user's that ends the command; not an `Exception`, which Hydra would only warn of."""


class Folders(Callback):
    """Hydra calls this before it makes the folder of a run or a sweep.

    A folder that the configuration names by the time gets a number behind it where there is one of that name:
    two runs may start in the same second. One that the person named must hold no run.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose the folder of a single run."""
        _choose(config, "run")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Choose the folder of a sweep."""
        _choose(config, "sweep")


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
    elif kind == "run" and any((folder / name).exists() for name in LEFT_BY_RUNS):
        raise Refused(
            f"hydra.run.dir={folder} holds a run already: go on with it by resume={folder}, or choose "
            "another folder"
        )
