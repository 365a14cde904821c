"""What a run is called beside others, and what it was configured with, as its folder tells it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.checked_yaml import read_plain
from trainer.errors import UsageError

# What says nothing about what is learned.
_ASIDE = ("logger", "find_learning_rate", "resume", "task", "allowed_targets", "sweep")


@dataclass(frozen=True)
class Identity:
    """A run, and the sweep that it is a job of.

    Attributes
    ----------
    folder : Path
        The run's folder.
    """

    folder: Path

    @property
    def sweep(self) -> Path | None:
        """The folder of the multirun that the run is a job of; None for a run on its own."""
        above = self.folder.resolve().parent
        return above if any((above / name).is_file() for name in ("sweep.json", "multirun.yaml")) else None

    @property
    def group(self) -> str:
        """The sweep's name, `2026-11-22/10-00-00`; empty for a run on its own."""
        return _name(self.sweep) if self.sweep else ""

    @property
    def name(self) -> str:
        """The job's name within its sweep; the folder's name with the one above for a run on its own."""
        return self.folder.resolve().name if self.sweep else _name(self.folder.resolve())

    @cached_property
    def hyperparameters(self) -> dict[str, Any]:
        """The configuration's values by their dotted keys; what a key is chosen to be, by the key itself.

        `{"optimizer": "adam", "optimizer.learning_rate": 0.002, "model.hidden": "[256, 128]", ...}`. Empty
        for a run that was not configured by files.
        """
        with contextlib.suppress(UsageError):
            content = read_plain(self.folder / ".hydra" / "config.yaml")
            if isinstance(content, dict):
                return dict(_leaves({key: node for key, node in content.items() if key not in _ASIDE}))
        return {}


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"


def _leaves(node: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, below in node.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(below, dict):
            yield from _leaves(below, where)
        elif key == "_target_":
            own = str(below).startswith("trainer.")
            yield path, str(below).rpartition(".")[2] if own else str(below)
        elif below is not None:
            yield where, below if isinstance(below, (str, bool, int, float)) else str(below)
