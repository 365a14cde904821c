"""A run's state, saved while it trains and put back when it is resumed or goes back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.checkpoints import Checkpoint, CheckpointStore, Writer, read_tensors
from trainer.checkpoints.checkpointer import Checkpointer, Every
from trainer.errors import RunError
from trainer.loggers.base import Logger
from trainer.loggers.wording import near
from trainer.models import Network
from trainer.optimizer import Optimizer
from trainer.settings import Checkpoints
from trainer.state import check_state, load_state, state_variables
from trainer.steering import Steering
from trainer.training import Loop, WeightKeeper

log = logging.getLogger(__name__)

ENDED = ("completed", "stopped_early")


class Persistence:
    """The checkpoints and the weights of one run.

    Parameters
    ----------
    folder : Path
        The run's folder, which this process has locked.
    network : Network
        Whose weights, random streams and carried states are saved.
    optimizer : Optimizer
        Whose state and hyperparameters are saved.
    settings : Checkpoints
        When, and how many.
    on_cpu : bool
        Whether variables lie in the host's memory, so that they can be copied beside a step.
    returns : bool, default False
        Whether the run may go back to a checkpoint: those that are due are then saved in time.
    """

    def __init__(
        self,
        folder: Path,
        network: Network,
        optimizer: Optimizer,
        settings: Checkpoints,
        *,
        on_cpu: bool,
        returns: bool = False,
    ) -> None:
        self._settings = settings
        self._returns = returns
        self._optimizer = optimizer
        self._writer = Writer()
        self._run = folder
        checkpoints = folder / "checkpoints"
        self.keeper = WeightKeeper(
            network, checkpoints, self._writer, optimizer.evaluated, optimizer.averages
        )
        self.store = CheckpointStore(checkpoints, settings.keep, self.keeper.best_files)
        self.variables = state_variables(network, optimizer)
        # A step writes to these behind its check alone; to the others, a batch of several may write before.
        written_last = {*optimizer.parameters, *optimizer.state} if on_cpu else set()
        self._gated = [name for name, variable in self.variables.items() if variable in written_last]
        self._checkpointer: Checkpointer | None = None
        self._loop: Loop | None = None
        self._steering: Steering | None = None

    @property
    def path(self) -> Path:
        """Where the checkpoint of the present step lies, or will."""
        return self.store.place(self._step)

    def attach(self, loop: Loop, steering: Steering) -> None:
        """Watch a loop, and save its state and that of its steering."""
        self._loop, self._steering = loop, steering
        settings = self._settings
        self._checkpointer = Checkpointer(
            self.store,
            self.variables,
            self._values,
            every=Every(settings.every_steps or 0, settings.every_epochs or 0, settings.every_minutes or 0.0),
            gated=self._gated,
            writer=self._writer,
            punctual=self._returns,
        )

    def find(self) -> Checkpoint | None:
        """Return the newest sound checkpoint, which fits this configuration; None where there is none.

        Raises
        ------
        UsageError
            Where it does not fit: the message names the first parameter or state that differs.
        RunError
            Where there are checkpoints, and all are damaged.
        """
        self.store.prepare()
        checkpoint = self.store.newest_sound()
        if checkpoint is None and self.store.steps():
            raise RunError(
                f"{self.store.folder} has no sound checkpoint, only damaged ones: put back a copy of one, or "
                "delete them to let the run begin anew"
            )
        if checkpoint is not None:
            check_state(self.variables, checkpoint.state.tensors, str(checkpoint.folder))
        return checkpoint

    def restore(self, checkpoint: Checkpoint, loggers: list[Logger]) -> None:
        """Put the run back to where it was at a checkpoint.

        Loggers forget what it will record again: of an epoch, too, whose last step was saved before its
        evaluation.

        Raises
        ------
        UsageError
            Where the checkpoint does not fit what is trained now.
        """
        self._put_back(checkpoint, ended=self.ended_by_itself(), returns=False)
        self._rewind(loggers)

    def roll_back(self, factor: float, loggers: list[Logger]) -> bool:
        """Go back to a checkpoint with every learning rate multiplied by a factor.

        It is the newest sound one with finite weights that was due by its step or its epoch: a run that was
        stopped and resumed in between goes back as far as one that was not. Where there is none of those, it
        is the newest.

        Returns
        -------
        bool
            False where there is no checkpoint to go back to.
        """
        self.settle()
        self._writer.wait()
        checkpoint = self._place_to_return_to()
        hyperparameters = self._optimizer.hyperparameters
        rates = [name for name in hyperparameters if name.endswith("learning_rate")]
        if checkpoint is None or not rates:
            return False
        before = hyperparameters.state()
        self._put_back(checkpoint, ended=False, returns=True)
        now = hyperparameters.state()
        for name in rates:
            # What earlier returns have scaled down stays so, be it later than this checkpoint.
            hyperparameters.rescale(name, factor * before[name]["scale"] / now[name]["scale"])
        self._rewind(loggers)
        return True

    def _place_to_return_to(self) -> Checkpoint | None:
        newest, before = None, None
        while (checkpoint := self.store.newest_sound(before)) is not None:
            before = checkpoint.step
            if not _has_finite_weights(checkpoint):
                continue
            if self._was_due(checkpoint):
                return checkpoint
            newest = newest or checkpoint
        return newest

    def _was_due(self, checkpoint: Checkpoint) -> bool:
        every, loop = self._settings, checkpoint.state.values["loop"]
        ends_epoch = loop["epochs"] > 0 and loop["epoch"]["position"] == 0
        return bool(
            (every.every_steps and checkpoint.step % every.every_steps == 0)
            or (every.every_epochs and ends_epoch and loop["epochs"] % every.every_epochs == 0)
        )

    def watch(self, loop: Loop) -> None:
        """Save where that is due; called by the loop after each step."""
        assert self._checkpointer is not None
        history, best = loop.outcome.history, loop.outcome.best
        step = loop.outcome.steps
        closed = loop.outcome.epochs if history and history[-1]["step"] == step else 0
        is_best = bool(closed) and best.get("step") == step
        if self._checkpointer.ready(step, closed):
            self.keeper.replace_missing()
        self._checkpointer.watch(step, closed, is_best)

    def save_now(self) -> Path:
        """Save the present state, wait until it is on disk, and return where it lies.

        Raises
        ------
        OSError
            It could not be written; the last sound checkpoint still stands.
        """
        assert self._checkpointer is not None
        assert self._loop is not None
        best = self._loop.outcome.best
        self.keeper.replace_missing()
        error = self._checkpointer.save_now(self._step, bool(best) and best.get("step") == self._step)
        if error is not None:
            raise error
        return self.path

    def save_last(self) -> None:
        """Save the last weights, and the state where that has not been done; a full disk costs a warning."""
        self.settle()
        self.keeper.replace_missing()
        self.keeper.save_last()
        self.save()

    def save(self) -> None:
        """Save the state where that has not been done; a full disk costs a warning."""
        try:
            if not self._is_saved():
                self.save_now()
        except OSError as error:
            log.warning(
                "the state after step %d could not be saved (%s)", self._step, error.strerror or error
            )

    def save_before_divergence(self) -> None:
        """Save the state before a step that is not finite, and say how to go on from it."""
        self.save_last()
        if self._is_saved():
            log.info(
                "the state before step %d is saved: trainer resume=%s goes on from it, with a lower "
                "optimizer.learning_rate=... if you like",
                self._step + 1,
                near(self._run),
            )

    def begin_again(self) -> None:
        """Have the best weights and the state saved anew: what was saved before is gone."""
        self.keeper.replace_missing()
        if self._checkpointer is not None:
            self._checkpointer.saved_step = None
            self._checkpointer.hasten()

    def settle(self) -> None:
        """Wait until the last copy is whole: called before anything is written to the variables."""
        if self._checkpointer is not None:
            self._checkpointer.settle()

    def close(self) -> OSError | None:
        """Wait until everything is written; return what hindered it."""
        error = self._writer.close() if self._checkpointer is None else self._checkpointer.close()
        if error is not None:
            log.warning("not everything could be saved (%s)", error.strerror or error)
        return error

    @property
    def _step(self) -> int:
        assert self._loop is not None
        return self._loop.outcome.steps

    def _is_saved(self) -> bool:
        """Wait for what is being written, and return whether the present state is on disk."""
        self._writer.wait()
        return self._checkpointer is not None and self._checkpointer.saved_step == self._step

    def _values(self) -> dict[str, Any]:
        assert self._loop is not None
        assert self._steering is not None
        return {
            "loop": self._loop.state(),
            "hyperparameters": self._optimizer.hyperparameters.state(),
            "steering": self._steering.state(),
        }

    def _rewind(self, loggers: list[Logger]) -> None:
        assert self._loop is not None
        history = self._loop.outcome.history
        for logger in loggers:
            logger.rewind(int(history[-1]["step"]) if history else 0)

    def _put_back(self, checkpoint: Checkpoint, *, ended: bool, returns: bool) -> None:
        assert self._loop is not None
        assert self._steering is not None
        values: Mapping[str, Any] = checkpoint.state.values
        self._loop.load_state(values["loop"], ended=ended)
        load_state(self.variables, checkpoint.state.tensors)
        self._optimizer.hyperparameters.load_state(values["hyperparameters"])
        self._steering.load_state(values["steering"], checkpoint.step, at_once=returns)
        try:
            self.store.restore_files(checkpoint)
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"{self.store.folder} cannot be written ({reason}): make it writable") from error
        self.keeper.resume({name: _read(path) for name, path in checkpoint.files.items()})

    def ended_by_itself(self) -> bool:
        """Tell whether the run's summary says that it came to its end."""
        try:
            summary = json.loads((self._run / "summary.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(summary, dict) and summary.get("status") in ENDED


def _has_finite_weights(checkpoint: Checkpoint) -> bool:
    weights = [array for name, array in checkpoint.state.tensors.items() if name.startswith("weights.")]
    return all(bool(np.isfinite(array).all()) for array in weights)


def _read(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        return read_tensors(file)
