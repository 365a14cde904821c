"""What becomes of a run when a step is not finite."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from trainer.errors import RunError, UsageError, nearest
from trainer.kernels.finite import NonFinite

log = logging.getLogger(__name__)

KINDS = ("raise", "skip", "rollback")
_CURES = "lower optimizer.learning_rate or choose clipping=total_norm"


class Diverged(RunError):
    """The loss or the gradients are no longer finite numbers."""


class NonFinitePolicy:
    """Decides about steps that are not finite. Whatever it decides, nothing of such a step was written.

    Parameters
    ----------
    kind : {'raise', 'skip', 'rollback'}
        End the run; leave the step out; or go back to a checkpoint.
    limit : int, default 10
        How many steps in a row may be left out, or how often a run may go back; one more ends it.
    on_diverged : callable
        Called before the run is ended, to save the state before the step.
    rollback : callable
        Restores a checkpoint and scales the learning rate down; returns False where there is none.

    Raises
    ------
    UsageError
        Where there is no such kind.
    """

    def __init__(
        self,
        kind: str = "raise",
        limit: int = 10,
        *,
        on_diverged: Callable[[], None] = lambda: None,
        rollback: Callable[[], bool] = lambda: False,
    ) -> None:
        if kind not in KINDS:
            raise UsageError(f"training.non_finite={kind}: there is no such policy: {nearest(kind, KINDS)}")
        self.kind = kind
        self.limit = limit
        self.on_diverged = on_diverged
        self.rollback = rollback
        self._last_skipped = 0
        self._skipped_in_a_row = 0
        self._rollbacks = 0

    @property
    def skips(self) -> bool:
        """Whether steps are left out."""
        return self.kind == "skip"

    def survive(self, error: NonFinite, step: int, hyperparameters: Mapping[str, float]) -> bool:
        """Return whether the run went back to a checkpoint; where not, the step is to be left out.

        Parameters
        ----------
        error : NonFinite
            What is not finite.
        step : int
            The step's number, from 1.
        hyperparameters : mapping
            Their values at the step.

        Raises
        ------
        Diverged
            Where the run must end.
        """
        told = f"{_describe(error)} at step {step} with {_listed(hyperparameters)}"
        if self.kind == "skip":
            return self._skip(told, step)
        if self.kind == "rollback":
            return self._roll_back(told)
        raise self._ended(f"{told}: {_CURES}, or set training.non_finite to skip or rollback")

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint keeps of this."""
        return {
            "last_skipped": self._last_skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "rollbacks": self._rollbacks,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._last_skipped = state["last_skipped"]
        self._skipped_in_a_row = state["skipped_in_a_row"]
        # A return to a checkpoint counts, though it was saved before.
        self._rollbacks = max(self._rollbacks, state["rollbacks"])

    def _skip(self, told: str, step: int) -> bool:
        in_a_row = self._skipped_in_a_row if self._last_skipped == step - 1 else 0
        if in_a_row >= self.limit:
            raise self._ended(f"{told}, after {_steps(in_a_row)}: {_CURES}")
        self._last_skipped, self._skipped_in_a_row = step, in_a_row + 1
        if not in_a_row:
            log.warning("skipped a step: %s", told)
        return False

    def _roll_back(self, told: str) -> bool:
        if self._rollbacks >= self.limit:
            times = "a return" if self.limit == 1 else f"{self.limit} returns"
            raise self._ended(f"{told}, after {times} to a checkpoint: {_CURES}")
        self._rollbacks += 1
        if not self.rollback():
            raise self._ended(f"{told}, before there was a checkpoint to return to: {_CURES}")
        log.warning("went back to the last checkpoint: %s", told)
        return True

    def _ended(self, message: str) -> Diverged:
        self.on_diverged()
        return Diverged(message)


def _steps(in_a_row: int) -> str:
    return "a step that was skipped" if in_a_row == 1 else f"{in_a_row} steps in a row that were skipped"


def _describe(error: NonFinite) -> str:
    if not math.isfinite(error.loss):
        told = f"the loss became {error.loss}"
    else:
        told = f"the loss is {error.loss:g}, but its gradients became infinite or undefined"
    elements = [
        name if count < 0 else f"{name} ({count:,} elements)" for name, count in error.elements.items()
    ]
    if not elements:
        return told
    others = f" and {len(elements) - 3} more" if len(elements) > 3 else ""
    return f"{told} (not finite: {', '.join(elements[:3])}{others})"


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items()) or "no hyperparameters"
