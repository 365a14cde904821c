"""How a run goes: the epoch in progress, and the whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import UsageError
from trainer.loggers.base import Progress

Record = dict[str, float]


@dataclass
class Outcome:
    """How a run went, from its very beginning where it was resumed.

    Attributes
    ----------
    status : str
        `completed`, `stopped_early` or `interrupted`; `diverged` and `failed` where an error ended it.
    epochs, steps : int
        What was done, epochs counted whole, steps that were skipped included.
    examples : int
        Examples trained on.
    seconds : float
        From the first step to the end of the last epoch, on the wall clock, without those between a stop and
        its resumption.
    best : dict
        The record of the best epoch by the monitored metric; empty before the first epoch's end.
    history : list of dict
        The record of each epoch.
    """

    status: str = "failed"
    epochs: int = 0
    steps: int = 0
    examples: int = 0
    seconds: float = 0.0
    best: Record = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)


@dataclass
class Epoch:
    """The epoch in progress.

    Attributes
    ----------
    position : int
        Its steps so far, those that were skipped included.
    skipped : int
        Those that were skipped.
    loss : float
        The sum of the loss over the examples of the others.
    examples : int
        How many those are.
    norm : float
        The sum of the gradients' total norm over the steps that were not skipped.
    """

    position: int = 0
    skipped: int = 0
    loss: float = 0.0
    examples: int = 0
    norm: float = 0.0

    def means(self) -> Record:
        """Give the record's means: of the loss by example, of the norm by step; not a number for nothing."""
        steps = self.position - self.skipped
        return {
            "train/loss": self.loss / self.examples if self.examples else math.nan,
            "train/gradient_norm": self.norm / steps if steps else math.nan,
        }


def check_place(state: Mapping[str, Any], progress: Progress) -> None:
    """Refuse a state of `Loop.state` that stands in the middle of an epoch which is cut otherwise now.

    Raises
    ------
    UsageError
        Where an epoch has another number of steps, or a step another number of examples.
    """
    steps, examples = state["steps_per_epoch"], state["examples_per_step"]
    if not state["epoch"]["position"] or (steps, examples) == (
        progress.steps_per_epoch,
        progress.examples_per_step,
    ):
        return
    told = f"{steps} steps, but an epoch has {progress.steps_per_epoch} now"
    if steps == progress.steps_per_epoch:
        told = f"steps of {examples} examples, but a step has {progress.examples_per_step} now"
    raise UsageError(
        f"the saved state stands in the middle of an epoch of {told}: resume with the run's own data, "
        "training.batch_size, training.accumulation and training.steps_per_epoch"
    )
