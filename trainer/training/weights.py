"""The weights that a run keeps: those of the best epoch and the last ones, raw and averaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.checkpoints import Job, Writer, save_tensors
from trainer.models import Network
from trainer.training.standing_in import standing_in

AVERAGED = "averaged"


class WeightKeeper:
    """Keeps a network's weights as safetensors in a folder, and the best ones in memory.

    Parameters
    ----------
    network : Network
        Whose weights are kept.
    folder : Path
        Made where it is missing, in a folder that is there; receives `best.safetensors` and
        `last.safetensors`, and with averages `best_averaged.safetensors` and `last_averaged.safetensors`;
        each is flushed to disk, and there whole or not at all.
    writer : Writer, optional
        Writes the files, before checkpoints that are submitted later. Without one, they are written before a
        method returns, and what hinders that is an OSError.
    evaluated : mapping, optional
        Parameters in whose place other variables are kept.
    averages : mapping, optional
        Weights to the variables of their averages.
    """

    def __init__(
        self,
        network: Network,
        folder: Path,
        writer: Writer | None = None,
        evaluated: Mapping[Any, Any] | None = None,
        averages: Mapping[Any, Any] | None = None,
    ) -> None:
        self.network = network
        self.folder = folder
        self.writer = writer
        self.kinds = {"": dict(evaluated or {})}
        if averages:
            self.kinds[f"_{AVERAGED}"] = dict(averages)
        self._best: dict[str, Mapping[str, Any]] = {}

    @property
    def best_files(self) -> tuple[str, ...]:
        """The names of the files of the best weights."""
        return tuple(f"best{kind}.safetensors" for kind in self.kinds)

    def keep_best(self) -> None:
        """Keep the present weights as the best so far."""
        self._best = self._present()
        self._save("best", self._best)

    def resume(self, files: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with the best weights of before, by the names of their files, which are there."""
        self._best = {
            kind: files[name] for kind, name in zip(self.kinds, self.best_files, strict=True) if name in files
        }

    def save_last(self) -> None:
        """Save the present weights as the last ones."""
        self._save("last", self._present())

    def replace_missing(self) -> None:
        """Save the best weights again where somebody deleted their files."""
        for kind, name in zip(self.kinds, self.best_files, strict=True):
            waits = self.writer is not None and self.writer.is_busy(f"best{kind} weights")
            if kind in self._best and not waits and not (self.folder / name).exists():
                self._write(f"best{kind}", self._best[kind])

    def restore_best(self, *, averaged: bool = False) -> None:
        """Give the network its best weights again, or their averages, where there are any."""
        best = self._best.get(f"_{AVERAGED}" if averaged else "")
        if best is not None:
            self.network.load_weights(best)

    def _present(self) -> dict[str, Mapping[str, Any]]:
        present: dict[str, Mapping[str, Any]] = {}
        for kind, replacements in self.kinds.items():
            with standing_in(replacements):
                present[kind] = self.network.weights()
        return present

    def _save(self, name: str, weights: Mapping[str, Mapping[str, Any]]) -> None:
        for kind, arrays in weights.items():
            self._write(f"{name}{kind}", arrays)

    def _write(self, name: str, weights: Mapping[str, Any]) -> None:
        def write() -> None:
            self.folder.mkdir(exist_ok=True)
            save_tensors(self.folder / f"{name}.safetensors", weights)

        if self.writer is None:
            write()
        else:
            self.writer.submit(Job(f"{name} weights", write, again=True))
