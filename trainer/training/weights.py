"""The weights that a run keeps: those of the best epoch and the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.models import Network


class WeightKeeper:
    """Keeps a network's weights as safetensors in a folder, and the best ones in memory.

    Parameters
    ----------
    network : Network
        Whose weights are kept.
    folder : Path
        Made where it is missing; receives `best.safetensors` and `last.safetensors`.
    """

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self._best: Mapping[str, Any] | None = None

    def keep_best(self) -> None:
        """Keep the present weights as the best so far."""
        self._best = self.network.weights()
        self._save("best")

    def save_last(self) -> None:
        """Save the present weights as the last ones."""
        self._save("last")

    def restore_best(self) -> None:
        """Give the network its best weights again, where there are any."""
        if self._best is not None:
            self.network.load_weights(self._best)

    def _save(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.network.save(self.folder / f"{name}.safetensors")
