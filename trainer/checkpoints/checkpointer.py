"""When a run's state is saved, and how that holds up the training as little as may be."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.checkpoints.exact_json import to_exact_json
from trainer.checkpoints.files import State
from trainer.checkpoints.snapshot import Snapshot
from trainer.checkpoints.store import CheckpointStore
from trainer.checkpoints.writer import Job, Writer

log = logging.getLogger(__name__)

_JOB = "checkpoint"


@dataclass(frozen=True)
class Every:
    """When a checkpoint is due; each 0 stands for never, and several may hold at once.

    Parameters
    ----------
    steps : int, default 0
        After each update whose number is a multiple of this.
    epochs : int, default 0
        At the end of each epoch whose number is a multiple of this.
    minutes : float, default 0
        After the first update that ends so long after the last checkpoint was begun.
    """

    steps: int = 0
    epochs: int = 0
    minutes: float = 0.0


class Checkpointer:
    """Saves a run's state: copies it between two steps, and lets another thread write the copy.

    There is memory for one copy. Where a checkpoint is due while the one before is still being written, the
    training does not wait: the state is saved after the first update at which the writing is done, so the
    newest state is what is written.

    Parameters
    ----------
    store : CheckpointStore
        Where to, already prepared.
    variables : mapping of str to shared variable
        The arrays of the state.
    values : callable
        Gives the rest of the state: what `to_exact_json` takes.
    every : Every
        When.
    gated : collection of str
        The names of variables that are copied while the next step computes; see `Snapshot`. The step must
        then call `settle`.
    writer : Writer, optional
        What writes the run's other files too, so that a checkpoint takes along the weights of its own moment.
    punctual : bool, default False
        Whether the training waits for the checkpoint before, so that which states are saved does not depend
        on how fast the disk is.

    Attributes
    ----------
    saved_step : int or None
        The step of the last checkpoint that came to be on disk; None before one did.
    """

    def __init__(
        self,
        store: CheckpointStore,
        variables: Mapping[str, Any],
        values: Callable[[], Mapping[str, Any]],
        *,
        every: Every,
        gated: Collection[str] = (),
        writer: Writer | None = None,
        punctual: bool = False,
    ) -> None:
        self.store = store
        self.punctual = punctual
        self.every = every
        self.writer = writer or Writer()
        self._values = values
        self._snapshot = Snapshot(variables, gated)
        self._begun = time.monotonic()
        self._is_late = False
        self.saved_step: int | None = None

    def due(self, step: int, epoch_closed: int = 0) -> bool:
        """Tell whether a checkpoint is due.

        Parameters
        ----------
        step : int
            How many updates were made.
        epoch_closed : int, default 0
            The number of the epoch that the last one ended; 0 where it ended none.
        """
        every = self.every
        return (
            self._is_late
            or bool(every.steps and step % every.steps == 0)
            or bool(every.epochs and epoch_closed and epoch_closed % every.epochs == 0)
            or bool(every.minutes and time.monotonic() - self._begun >= 60 * every.minutes)
        )

    def watch(self, step: int, epoch_closed: int = 0, is_best: bool = False) -> bool:
        """Save where that is due: after each update, when all of the state is that of this step.

        Parameters
        ----------
        step, epoch_closed : int
            As for `due`.
        is_best : bool
            Whether the epoch that was closed is the best so far.

        Returns
        -------
        bool
            Whether a checkpoint was begun.
        """
        if not self.ready(step, epoch_closed):
            return False
        if self.punctual:
            self.writer.wait()
        self._begin(step, is_best)
        return True

    def ready(self, step: int, epoch_closed: int = 0) -> bool:
        """Tell whether a checkpoint is due and none is being written; else it is due at the next step too."""
        if not self.due(step, epoch_closed):
            return False
        if not self.punctual and self.writer.is_busy(_JOB):
            self._is_late = True
            return False
        return True

    def hasten(self) -> None:
        """Have the state saved after the coming update, whatever is due."""
        self._is_late = True

    def save_now(self, step: int, is_best: bool = False) -> OSError | None:
        """Save the state of this moment, and wait until it is on disk, with all that waited before.

        Returns
        -------
        OSError or None
            What hindered it; the last sound checkpoint still stands.
        """
        self.writer.wait()
        self._begin(step, is_best)
        return self.writer.wait()

    def settle(self) -> None:
        """Wait until the last copy is whole: before anything is written to a variable that is `gated`."""
        self._snapshot.settle()

    def close(self) -> OSError | None:
        """Wait until everything is written, what failed before tried once more; return what hindered it."""
        self.settle()
        return self.writer.close()

    def _begin(self, step: int, is_best: bool) -> None:
        values = to_exact_json(self._values())
        self._begun, self._is_late = time.monotonic(), False
        snapshot, store = self._snapshot, self.store
        snapshot.take()

        def write() -> None:
            snapshot.settle()
            store.write(State(snapshot.tensors, {}), values, step, is_best)
            self.saved_step = step
            self._clean(step)

        self.writer.submit(Job(_JOB, write))

    def _clean(self, step: int) -> None:
        try:
            self.store.clean(step)
        except OSError as error:
            log.warning("old checkpoints in %s cannot be deleted (%s)", self.store.folder, error.strerror)
