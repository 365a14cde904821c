"""What may act on a run while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from trainer.loggers.base import improves


class Control(Protocol):
    """What a callback may see and do of the loop.

    Attributes
    ----------
    monitor : str
        The metric whose best epoch counts.
    mode : str
        `min` or `max`.
    """

    monitor: str
    mode: str

    def stop(self, reason: str) -> None:
        """Stop at the end of this epoch, for a reason that the log then tells."""

    def request_stop(self, reason: str) -> None:
        """Stop after this step, for a reason that the log then tells."""


class Callback:
    """A thing that acts on a run; override what it needs."""

    def on_train_start(self, loop: Control) -> None:
        """Act before the first step."""

    def on_epoch_end(self, loop: Control, record: Mapping[str, float]) -> None:
        """Act on an epoch's record, after the loop has noted whether it is the best."""

    def on_train_end(self, loop: Control) -> None:
        """Act after the last step."""

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps of this: what JSON can hold."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""


class EarlyStopping(Callback):
    """Stop when the monitored metric has not improved for `patience` epochs.

    Parameters
    ----------
    patience : int
        Epochs without an improvement before the run stops.
    min_delta : float
        A change of at most this, in the metric's own unit, is no improvement.
    """

    def __init__(self, patience: int = 10, min_delta: float = 0.0) -> None:
        self.patience = patience
        self.min_delta = min_delta
        self.best: float | None = None
        self.waited = 0

    def on_train_start(self, loop: Control) -> None:
        """Stop at once a run that was resumed after it had been stopped, and with no more patience."""
        self._stop_if_due(loop)

    def on_epoch_end(self, loop: Control, record: Mapping[str, float]) -> None:
        """Count the epochs without an improvement, and ask the loop to stop after `patience` of them."""
        value = record[loop.monitor]
        if improves(value, self.best, loop.mode, self.min_delta):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        self._stop_if_due(loop)

    def state(self) -> dict[str, Any]:
        """Give the best value and the epochs since then."""
        return {"best": self.best, "waited": self.waited}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.best, self.waited = state["best"], state["waited"]

    def _stop_if_due(self, loop: Control) -> None:
        if self.waited >= self.patience:
            loop.stop(f"{loop.monitor} has not improved for {self.waited} epochs")
