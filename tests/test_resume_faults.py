"""Runs that were killed after something went wrong or was changed from outside go on to the same bits."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.left_by import differences, left_by, records
from tests.resuming import SMALL, Train, assert_goes_on, during, stopped_at
from trainer.checkpoints import Writer
from trainer.steering import files, watcher

pytestmark = pytest.mark.usefixtures("uncompiled")

OWN = """
from collections import OrderedDict

import numpy as np
import theano
from theano import tensor
from trainer.data import digits as all_digits

def digits():
    data = all_digits()
    data.train.inputs[::100] = np.nan
    return data

def exploding(gradients, params, learning_rate=0.4):
    \"\"\"Gradient descent whose seventh step goes wrong where the learning rate is above 0.3.\"\"\"
    count = theano.shared(np.zeros((), "int8"), "count")
    goes_wrong = tensor.and_(tensor.eq(count, 6), learning_rate > 0.3)
    updates = OrderedDict({count: tensor.cast(count + 1, "int8")})
    for param, gradient in zip(params, gradients):
        updates[param] = tensor.switch(goes_wrong, np.float32("nan"), param - learning_rate * gradient)
    return updates
"""
OF_OWN = ("allowed_targets=[own_of_faults]",)


class Killed(BaseException):
    """What ends a run in its tracks: no handler of errors sees it, and nothing more is saved."""


@pytest.fixture(autouse=True)
def _looks_after_each_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(watcher, "SHOW_SECONDS", 0.0)


def killed_at(update: int, folder: Path, *saved: int) -> ExitStack:
    """Let the run die in the update of a number; the checkpoints of some earlier ones are written in time."""

    def wait(step: int) -> None:
        end = time.monotonic() + 60
        while not is_written(folder, step):
            assert time.monotonic() < end
            time.sleep(0.001)

    def die() -> None:
        raise Killed

    stack = ExitStack()
    stack.enter_context(pytest.raises(Killed))
    for step in saved:
        stack.enter_context(during(step + 1, lambda step=step: wait(step)))  # type: ignore[misc]
    stack.enter_context(during(update, die))
    return stack


def is_written(folder: Path, step: int) -> bool:
    checkpoints = folder / "checkpoints"
    return (checkpoints / f"step-{step:09d}").is_dir() and not any(checkpoints.glob(".*.part"))


@contextmanager
def writers_at_rest() -> Iterator[None]:
    """Wait at the end for what threads are writing: a process that is killed writes nothing any more."""
    yield
    for each in gc.get_objects():
        if type(each) is Writer:
            each.wait()


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_of_faults.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_of_faults", None)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail with an OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestSteering:
    ARGUMENTS = (*SMALL, "optimizer=sgd", "optimizer.learning_rate=0.5", "schedule=cosine")

    @staticmethod
    def changed(folder: Path) -> AbstractContextManager[None]:
        change: dict[str, Any] = {"set": {"learning_rate": 0.25}, "release": [], "command": None}
        return during(7, lambda: files.post(folder / "steering", change))

    @staticmethod
    def released(folder: Path) -> AbstractContextManager[None]:
        release: dict[str, Any] = {"set": {}, "release": ["learning_rate"], "command": None}
        return during(12, lambda: files.post(folder / "steering", release))

    @pytest.mark.parametrize(("update", "saved"), [(9, (5,)), (11, (5, 10)), (14, (5, 10))])
    def test_what_a_person_changed_is_kept_though_no_checkpoint_came_after_it(
        self, train: Train, tmp_path: Path, update: int, saved: tuple[int, ...]
    ) -> None:
        whole_folder, folder = tmp_path / "whole", tmp_path / "killed"
        with self.changed(whole_folder), self.released(whole_folder):
            whole = train(*self.ARGUMENTS, folder="whole")
        assert whole.records[1]["hyperparameter/learning_rate"] == 0.25
        assert [change["step"] for change in whole.summary["steering"]] == [8, 13]
        with self.changed(folder), self.released(folder), killed_at(update, folder, *saved):
            train(*self.ARGUMENTS, folder="killed")
        with self.released(folder) if update < 12 else nullcontext():
            resumed = train("resume=killed")
        assert resumed.status == 0, resumed.err
        assert differences(left_by(whole.folder), left_by(folder)) == []


class TestNonFinite:
    ROLLBACK = (
        *SMALL,
        "optimizer._target_=own_of_faults.exploding",
        "optimizer.learning_rate=0.4",
        "training.non_finite=rollback",
    )

    @pytest.mark.parametrize("update", [6, 10])
    def test_a_run_that_went_back_goes_on(self, train: Train, update: int) -> None:
        """Stopped before and after it went back from step 8 to step 5, the newest checkpoint that was due."""
        whole = assert_goes_on(train, update, *self.ROLLBACK, resumed_with=OF_OWN)
        rates = [record["hyperparameter/learning_rate"] for record in whole.records]
        assert rates == pytest.approx([0.4, 0.2, 0.2])
        assert [record["step"] for record in whole.records] == [5, 10, 15]

    def test_a_run_that_was_killed_after_it_went_back_goes_back_again(
        self, train: Train, tmp_path: Path
    ) -> None:
        whole, folder = train(*self.ROLLBACK, folder="whole"), tmp_path / "killed"
        with killed_at(9, folder, 5):
            train(*self.ROLLBACK, folder="killed")
        resumed = train("resume=killed", *OF_OWN)
        assert resumed.status == 0, resumed.err
        assert "went back to the last checkpoint" in " ".join(resumed.out.split())
        assert differences(left_by(whole.folder), left_by(folder)) == []

    def test_a_run_does_not_go_back_to_weights_that_are_no_numbers(self, train: Train) -> None:
        run = train(*self.ROLLBACK, "training.checkpoints.every_steps=1", folder="run")
        assert run.status == 0, run.err
        rates = [record["hyperparameter/learning_rate"] for record in run.records]
        assert rates == pytest.approx([0.4, 0.2, 0.2])

    @pytest.mark.parametrize("accumulation", [1, 2])
    def test_steps_that_were_skipped_stay_so(self, train: Train, accumulation: int) -> None:
        skipping = (
            *SMALL,
            "data._target_=own_of_faults.digits",
            "training.non_finite=skip",
            f"training.accumulation={accumulation}",
            "model.dropout=0.5",
        )
        whole = assert_goes_on(train, 8, *skipping, resumed_with=OF_OWN)
        assert all(record["train/skipped_steps"] > 0 for record in whole.records)


def test_an_epoch_that_was_recorded_after_the_last_state_is_recorded_once(
    train: Train, tmp_path: Path
) -> None:
    """Stopped after an epoch's last update, before its evaluation; killed after that, with no new state."""
    arguments = (*SMALL, "training.checkpoints.every_epochs=null")
    whole, folder = train(*arguments, folder="whole"), tmp_path / "killed"
    with stopped_at(5):
        train(*arguments, folder="killed")
    with killed_at(7, folder):
        train("resume=killed")
    assert len(records(folder)) == 1
    resumed = train("resume=killed")
    assert "goes on after step 5" in resumed.out
    assert differences(left_by(whole.folder), left_by(folder)) == []


def test_a_run_on_a_full_disk_goes_on_from_the_last_state_that_was_written(
    train: Train, tmp_path: Path
) -> None:
    arguments = (*SMALL, "model.hidden=[32]")
    whole, folder = train(*arguments, folder="whole"), tmp_path / "killed"
    disk = ExitStack()
    fills = during(8, lambda: disk.enter_context(full_disk(8000)))
    with disk, writers_at_rest(), fills, killed_at(12, folder, 5):
        train(*arguments, folder="killed")
    assert [path.name for path in (folder / "checkpoints").glob("step-*")] == ["step-000000005"]
    resumed = train("resume=killed")
    assert resumed.status == 0, resumed.err
    assert "goes on after step 5" in resumed.out
    assert differences(left_by(whole.folder), left_by(folder)) == []


def test_with_neither_a_checkpoint_nor_room_for_one_the_run_begins_anew(train: Train, tmp_path: Path) -> None:
    arguments = (*SMALL, "model.hidden=[32]")
    whole, folder = train(*arguments, folder="whole"), tmp_path / "stopped"
    with full_disk(8000), stopped_at(12):
        stopped = train(*arguments, folder="stopped")
    assert stopped.status != 0
    assert not list((folder / "checkpoints").glob("step-*"))
    assert train("resume=stopped").status == 0
    assert differences(left_by(whole.folder), left_by(folder)) == []
