"""The run's side of steering: a watcher of the loop that obeys requests and answers them."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from trainer.errors import UsageError
from trainer.steering.mailbox import GONE, Mailbox
from trainer.steering.messages import (
    CONFIGURATION,
    PERSON,
    SCHEDULE,
    Answer,
    Change,
    Held,
    Malformed,
    Request,
    State,
    check_request,
)

log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.05
# How often the folder is looked at: that costs 2 µs, which the shortest steps would feel at each of them.
LOOK_SECONDS = 0.001
# How often the ends of epochs are shown in state.json; a person who asks for it gets the present state.
SHOW_SECONDS = 0.5
# A file may come within the same tick of the file system's clock as another that was seen: the folder is
# looked into again after a tick of most systems' clocks, and after one of the slowest.
LOOK_AGAIN_SECONDS = (0.02, 2.5)


class Steerable(Protocol):
    """The hyperparameters as steering needs them: see `trainer.hyperparameters`."""

    @property
    def scheduled(self) -> Collection[str]:
        """Names that have a schedule."""

    @property
    def pinned(self) -> Collection[str]:
        """Names that a person has set."""

    def values(self) -> dict[str, float]:
        """Return all values by name."""

    def pin(self, name: str, value: float) -> None:
        """Set a value that schedules leave alone."""

    def release(self, name: str) -> None:
        """Hand a value back to what set it before."""


class Position(Protocol):
    """How far the run is: see `trainer.loggers.base.Progress`."""

    epochs: int
    steps_per_epoch: int
    epoch: int
    step: int
    phase: str


class Steered(Protocol):
    """The loop as steering needs it: see `trainer.training.Loop`."""

    outcome: Any
    signals: Any

    def request_stop(self, reason: str) -> None:
        """Stop before the next update."""


class Steering:
    """Obeys the requests in a run's folder `steering/`; called by the loop after each update.

    A request that cannot be read is moved to `steering/refused/` with a warning, and nothing there ever stops
    the run. Changes are appended to `steering/history.jsonl`.

    Parameters
    ----------
    folder : Path
        The run's folder, which exists.
    hyperparameters : Hyperparameters
        What is changed.
    progress : Progress
        The loop's own; its `phase` is `paused` while the run waits.
    save : callable
        Writes a checkpoint of the present state now, waits until it is on disk, and returns its path; None,
        or an `OSError`, says that it could not.
    precision : str, default "float32"
        The type that hyperparameters are kept in.
    resumed : bool, default False
        Whether the run goes on: changes that wait are made then. A new run forgets what was in the folder.

    Attributes
    ----------
    changes : list of Change
        Those made so far, in the run's earlier lives too.
    """

    def __init__(
        self,
        folder: Path,
        hyperparameters: Steerable,
        progress: Position,
        save: Callable[[], Path | None],
        *,
        precision: str = "float32",
        resumed: bool = False,
    ) -> None:
        self.changes: list[Change] = []
        self._run = folder
        self._hyperparameters = hyperparameters
        self._progress = progress
        self._save = save
        self._precision = precision
        self._replays: list[Change] = []
        self._modified = GONE
        self._looks: list[float] = []
        self._next_look = 0.0
        self._next_show = 0.0
        self._epochs = 0
        self._is_paused = self._is_ending = False
        self._mailbox = Mailbox(folder, keep=resumed)
        self._refuse_commands()
        self._show()

    def __call__(self, loop: Steered) -> None:
        """Obey what waits; where nothing does, that costs at most a look at the folder's date."""
        now = time.monotonic()
        if now < self._next_look and not self._replays:
            return
        self._next_look = now + LOOK_SECONDS
        self._attend(loop, now)
        while self._is_paused and not self._is_ending and loop.signals.received is None:
            time.sleep(PAUSE_SECONDS)
            self._attend(loop, time.monotonic())
        if self._is_paused:
            self._go_on()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps: the changes so far."""
        return {"changes": [change.as_json() for change in self.changes]}

    def load_state(self, state: Mapping[str, Any], steps: int, *, at_once: bool = False) -> None:
        """Take up what `state` gave, and make the later changes of the run's earlier life again.

        A run that was killed after a change and before the next checkpoint makes the change anew at the same
        step, as `steering/history.jsonl` tells; so it goes on to the bits of a run that was not killed. To be
        called after the hyperparameters have their own state.

        Parameters
        ----------
        state : mapping
            From a checkpoint.
        steps : int
            Updates done in that checkpoint.
        at_once : bool, default False
            Whether the later changes hold from now on, not from their own steps: for a run that goes back
            because a step was not finite, and then scales the values down.

        Raises
        ------
        UsageError
            Where the state is none of this class.
        """
        try:
            self.changes = [Change.parse(item) for item in state["changes"]]
        except (Malformed, KeyError, TypeError) as error:
            raise UsageError(f"the saved changes of steering are damaged: {error}") from error
        self._replays = self._mailbox.unmade(self.changes, steps)
        self._show()
        self._replay(math.inf if at_once else steps)

    def close(self) -> None:
        """Refuse what still waits, and say in `state.json` that the run is over; may be called twice."""
        for _, reply in self._mailbox.take():
            reply(Answer(self._progress.step, refused="the run has ended"))
        self._show(phase="done")

    def _attend(self, loop: Steered, now: float) -> None:
        self._replay(loop.outcome.steps)
        if loop.outcome.epochs != self._epochs and now >= self._next_show:
            self._epochs, self._next_show = loop.outcome.epochs, now + SHOW_SECONDS
            self._show()
        modified = self._mailbox.date()
        if modified != self._modified:
            # Noted as it was before the folder is listed: what comes later has a later date, or is found by
            # the looks that follow.
            self._modified = modified
            self._looks = [now + seconds for seconds in LOOK_AGAIN_SECONDS]
        elif self._looks and now >= self._looks[0]:
            self._looks = [look for look in self._looks if look > now]
        else:
            return
        if modified == GONE:
            self._mailbox.restore()
        for request, reply in self._mailbox.take():
            answer = self._obey(request, loop)
            if request != Request():
                log.info("steering: %s%s", "refused, " if answer.refused else "", answer)
            # Who reads the answer looks into the state next.
            self._show()
            reply(answer)

    def _obey(self, request: Request, loop: Steered) -> Answer:
        steps = loop.outcome.steps
        refused = self._objection(request)
        if refused is not None:
            return Answer(steps, refused=refused)
        wanted: dict[str, float | None] = {**request.values, **dict.fromkeys(request.release)}
        changes = tuple(self._change(name, value, steps + 1) for name, value in wanted.items())
        for change in changes:
            self._mailbox.note(change)
        return Answer(steps, changes, request.command, self._command(request.command, loop))

    def _objection(self, request: Request) -> str | None:
        try:
            check_request(request, self._hyperparameters.values(), self._precision)
        except UsageError as error:
            return str(error)
        for name in request.release:
            if name not in self._hyperparameters.pinned:
                return f"{name} was not set by a person: there is nothing to release"
        if self._is_ending:
            return "the run is stopping"
        if request.command == "pause" and self._is_paused:
            return "the run is paused already"
        if request.command == "continue" and not self._is_paused:
            return "the run is not paused"
        return None

    def _change(self, name: str, value: float | None, step: int) -> Change:
        old, new = self._hyperparameters.values()[name], None
        if value is None:
            self._hyperparameters.release(name)
        else:
            self._hyperparameters.pin(name, value)
            new = self._hyperparameters.values()[name]
        self.changes.append(Change(step, name, old, new))
        return self.changes[-1]

    def _command(self, command: str | None, loop: Steered) -> str | None:
        """Obey a command; return the checkpoint that it wrote."""
        if command == "continue":
            self._go_on()
        if command in (None, "continue"):
            return None
        if command == "stop":
            self._is_ending = True
            loop.request_stop("trainer-steer asked for it")
        if command == "pause":
            self._is_paused = True
            self._progress.phase = "paused"
        saved = None
        with self._mailbox.tolerating("the checkpoint that was asked for cannot be written"):
            saved = self._save()
        return None if saved is None else os.path.relpath(saved, self._run)

    def _go_on(self) -> None:
        self._is_paused = False
        self._progress.phase = "training"

    def _replay(self, steps: float) -> None:
        """Make the changes again that are due at the coming update."""
        while self._replays and self._replays[0].step <= steps + 1:
            told = self._replays.pop(0)
            values = {} if told.new is None else {told.name: told.new}
            refused = self._objection(Request(values, (told.name,) if told.new is None else ()))
            if refused is not None:
                log.warning("steering: what was done at step %d cannot be done again: %s", told.step, refused)
                continue
            change = self._change(told.name, told.new, told.step)
            log.info("steering: once more, %s", change)
            self._show()

    def _refuse_commands(self) -> None:
        """Refuse the commands that the run's earlier life has not obeyed: they were meant for that one."""
        for request, reply in self._mailbox.take():
            if request.command:
                reply(Answer(0, refused=f"the run ended before it could obey {request.command}"))

    def _show(self, phase: str | None = None) -> None:
        progress, hyperparameters = self._progress, self._hyperparameters
        pinned, scheduled = hyperparameters.pinned, hyperparameters.scheduled
        held = {}
        for name, value in hyperparameters.values().items():
            otherwise = SCHEDULE if name in scheduled else CONFIGURATION
            held[name] = Held(value, PERSON if name in pinned else otherwise)
        state = State(
            # It is between two updates wherever it is asked, also where an epoch's evaluation is just done.
            phase=phase or ("training" if progress.phase == "evaluating" else progress.phase),
            pid=os.getpid(),
            step=progress.step,
            steps=progress.epochs * progress.steps_per_epoch,
            epoch=progress.epoch,
            epochs=progress.epochs,
            precision=self._precision,
            hyperparameters=held,
        )
        self._mailbox.show(state)
