"""MLflow: each run in a store of MLflow's, a local file or a server, the jobs of a sweep below one run."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from trainer.loggers.base import Logger, Plan
from trainer.loggers.drawing import settle
from trainer.loggers.mlflow_store import Point, StoredRun, client_of, creation, points_of, require
from trainer.loggers.wording import CLOCKWORK

log = logging.getLogger(__name__)

ARTIFACTS = ("summary.json", "*.png", ".hydra/config.yaml")
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a store that is away is asked again
MOST_TOGETHER = 50  # records of a request

Item: TypeAlias = list[Point] | Callable[[StoredRun], None]
Result = TypeVar("Result")


class MLflow(Logger):
    """Keep the run in MLflow: its configuration as parameters, its numbers by step, pictures and summary.

    A run is named after its folder. The jobs of a sweep stand below a run of the sweep's name. A run that
    goes on after a checkpoint goes on with the same run of the store (`mlflow.json` in its folder says
    which); a number that stands there already is not written again, and one that differs, after a rollback or
    with another learning rate, stands beside the first, later in time: MLflow takes nothing back.

    Everything is sent by a thread of its own, so that no step waits for a server. Where the store cannot be
    reached, there is one warning, what is to be sent waits in memory, and it is tried again; at the run's
    end, until the store has taken nothing for `patience` seconds.

    Parameters
    ----------
    tracking_uri : str, optional
        The store: `sqlite:///FILE`, or a server's address. By default what `MLFLOW_TRACKING_URI` says, else
        `sqlite:///mlflow.db` in the folder where the command was given, its pictures in `mlruns/` beside it.
    experiment : str, default "trainer"
        The experiment that the runs belong to; it is made where there is none.
    patience : float, default 30
        Seconds without an answer after which the run, at its end, no longer waits for the store.

    Raises
    ------
    UsageError
        MLflow is not installed (`pip install 'theano-trainer[mlflow]'`); there is no such store.
    """

    def __init__(
        self, tracking_uri: str | None = None, experiment: str = "trainer", patience: float = 30.0
    ) -> None:
        if patience < 0:
            raise ValueError(f"patience={patience} is out of range: give a number of at least 0")
        require()
        self._uri, self._experiment, self._patience = tracking_uri, experiment, patience
        self._plan: Plan | None = None
        self._status = "failed"
        self._sender: _Sender | None = None

    def start(self, plan: Plan) -> None:
        """Connect to the store, and begin to send."""
        with creation(plan.folder):
            client = client_of(self._uri)
        self._plan = plan
        goes_on = plan.progress.step > 0
        self._sender = _Sender(partial(StoredRun, client, self._experiment, plan.folder, goes_on))

    def record(self, record: Mapping[str, float | int]) -> None:
        """Send a record's numbers."""
        step = int(record.get("step") or 0)
        kept = {key: value for key, value in record.items() if key not in CLOCKWORK or key == "epoch"}
        self._send(kept, step)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Send the test part's metrics and the best value."""
        if self._plan is None:
            return
        self._status = str(summary.get("status", "completed"))
        test, best = summary.get("test") or {}, summary.get("best") or {}
        numbers = {f"test/{key}": value for key, value in test.items() if isinstance(value, (int, float))}
        if self._plan.monitor in best:
            numbers[f"best/{self._plan.monitor}"] = best[self._plan.monitor]
        self._send(numbers, self._plan.progress.step)

    def close(self) -> None:
        """Send the pictures and the summary, and how the run ended; wait for that, but not for ever."""
        if self._sender is None or self._plan is None:
            return
        sender, self._sender = self._sender, None
        sender.put(partial(_end, self._status, self._plan.folder))
        lost = sender.close(self._patience)
        if lost:
            log.warning("MLflow lacks the last %d of what was sent to it", lost)

    def _send(self, values: Mapping[str, Any], step: int) -> None:
        if self._sender is not None and values:
            self._sender.put(points_of(values, step))


def _end(status: str, folder: Path, run: StoredRun) -> None:
    settle()  # pictures may still be drawn
    run.end(status, [path for pattern in ARTIFACTS for path in sorted(folder.glob(pattern))])


class _Sender:
    """A thread that sends one thing after another, and again what failed; numbers that wait go together."""

    def __init__(self, connect: Callable[[], StoredRun]) -> None:
        self._connect = connect
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._patience = 0.0
        self._closing = threading.Event()
        self._last_done = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Have something sent after all that was put before."""
        with self._changed:
            self._waiting.append(item)
            self._changed.notify()

    def close(self, patience: float) -> int:
        """Wait for the rest, as long as the store takes some of it; return how much it did not take."""
        with self._changed:
            self._patience, self._last_done = patience, time.monotonic()
            self._closing.set()
            self._changed.notify()
        while self._thread.is_alive() and not self._is_late():
            self._thread.join(min(patience, 0.1))
        return len(self._waiting)

    def _is_late(self) -> bool:
        return self._closing.is_set() and time.monotonic() - self._last_done >= self._patience

    def _work(self) -> None:
        run = self._persist(self._connect)
        while run is not None:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing.is_set())
                items = self._first()
            if not items or not self._persist(partial(_sent, items, run)):
                return
            for _ in items:
                self._waiting.popleft()
            self._last_done = time.monotonic()

    def _first(self) -> list[Item]:
        """Return what is sent next: one thing, or the numbers up to the next thing that is none."""
        items = list(itertools.islice(self._waiting, MOST_TOGETHER))
        numbers = list(itertools.takewhile(lambda item: isinstance(item, list), items))
        return numbers or items[:1]

    def _persist(self, act: Callable[[], Result]) -> Result | None:
        """Try until it is done, or the time is up; return what it returns."""
        pause, warned = FIRST_PAUSE, False
        while True:
            try:
                result = act()
            except Exception as error:
                # Whatever a server or its client comes up with: the run is worth more.
                if not warned:
                    reason = " ".join(str(error).split())[:200]
                    log.warning("MLflow does not take the run (%s); it is tried again", reason)
                warned = True
            else:
                if warned:
                    log.info("MLflow takes the run again")
                return result
            if self._closing.is_set():
                time.sleep(FIRST_PAUSE)
            elif not self._closing.wait(pause):
                pause = min(2 * pause, LONGEST_PAUSE)
            if self._is_late():
                return None


def _sent(items: Sequence[Item], run: StoredRun) -> bool:
    points = [point for item in items if isinstance(item, list) for point in item]
    if points:
        run.metrics(points)
    for item in items:
        if not isinstance(item, list):
            item(run)
    return True
