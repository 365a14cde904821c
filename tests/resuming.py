"""What the tests of resumption arrange alike: a run that is stopped at an update, and goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.conftest import Finished
from tests.left_by import differences, left_by
from trainer.training import Loop, Outcome

Train = Callable[..., Finished]

# Three epochs of five updates.
SMALL = (
    "model.hidden=[4]",
    "training.batch_size=40",
    "training.steps_per_epoch=5",
    "training.epochs=3",
    "logger.curves=null",
    "logger.pictures=null",
)


@contextmanager
def during(update: int, action: Callable[[], object]) -> Iterator[None]:
    """Let something happen while the training computes the update of that number, from 1."""
    run = Loop.run

    def watched(loop: Loop) -> Outcome:
        compiled = loop.step

        class Step:
            gather = staticmethod(compiled.gather)

            def __call__(self, inputs: Any, targets: Any) -> tuple[Any, Any]:
                if loop.outcome.steps + 1 == update:
                    action()
                return compiled(inputs, targets)

        loop.step = Step()
        return run(loop)

    Loop.run = watched  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Loop.run = run  # type: ignore[method-assign]


def stopped_at(update: int) -> Any:
    """Let SIGTERM come while the training computes the update of that number."""
    return during(update, lambda: os.kill(os.getpid(), signal.SIGTERM))


def assert_goes_on(
    train: Train, update: int, *arguments: str, resumed_with: tuple[str, ...] = ()
) -> Finished:
    """Claim that a run leaves the same where it is stopped at an update and resumed; return it unstopped."""
    whole = train(*arguments, folder="whole")
    assert whole.status == 0, whole.err
    with stopped_at(update):
        stopped = train(*arguments, folder="stopped")
    assert (stopped.status, stopped.summary["status"], stopped.summary["steps"]) == (
        143,
        "interrupted",
        update,
    )
    resumed = train("resume=stopped", *resumed_with)
    assert resumed.status == 0, resumed.err
    assert differences(left_by(whole.folder), left_by(stopped.folder)) == []
    return whole
