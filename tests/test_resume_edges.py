"""Resuming with other settings, from other places, and from folders that lack something."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.conftest import Finished
from tests.left_by import differences, left_by
from tests.resuming import SMALL, Train, stopped_at
from trainer.folder_lock import RunLock

pytestmark = pytest.mark.usefixtures("uncompiled")

SGD = (*SMALL, "optimizer=sgd", "optimizer.learning_rate=0.5")


def stopped(train: Train, update: int, *arguments: str) -> Finished:
    with stopped_at(update):
        run = train(*arguments, folder="stopped")
    assert run.status == 143, run.err
    return run


def newest(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


def contents(folder: Path) -> dict[Path, bytes]:
    """Return all files of a run but those that every command on it writes."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("train.log", ".lock")]
    return {path: path.read_bytes() for path in files}


def spoil(folder: Path) -> None:
    """Change one byte in the middle of a checkpoint's arrays."""
    path = folder / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class TestOtherSettings:
    def test_more_epochs_end_as_if_they_had_been_planned(self, train: Train) -> None:
        whole = train(*SMALL, folder="whole")
        shorter = train(*SMALL, "training.epochs=2", folder="shorter")
        first = shorter.records
        assert train("resume=shorter", "training.epochs=3").status == 0
        assert differences(left_by(whole.folder), left_by(shorter.folder)) == []
        assert shorter.records[:2] == first
        seconds = [record["seconds"] for record in shorter.records]
        assert seconds == sorted(seconds)
        assert shorter.summary["train_seconds"] >= seconds[-1]

    def test_no_more_epochs_than_are_done_change_nothing(self, train: Train) -> None:
        run = train(*SMALL, folder="stopped")
        before = contents(run.folder)
        for epochs in (3, 1):
            resumed = train("resume=stopped", f"training.epochs={epochs}")
            assert resumed.status == 0
            assert f"has trained 3 epochs, and training.epochs is {epochs}" in resumed.out
        assert contents(run.folder) == before

    def test_fewer_epochs_end_the_run_after_those(self, train: Train) -> None:
        run = stopped(train, 7, *SMALL)
        assert train("resume=stopped", "training.epochs=2").status == 0
        assert (run.summary["status"], run.summary["steps"]) == ("completed", 10)

    def test_another_learning_rate_holds_from_there_on_and_nothing_else_changes(self, train: Train) -> None:
        """Against a run that was never stopped and changed its learning rate at the same update."""
        piecewise = ("schedule=piecewise", "schedule.learning_rate.unit=step")
        values = ("schedule.learning_rate.times=[8]", "schedule.learning_rate.values=[0.25]")
        whole = train(*SGD, *piecewise, *values, folder="whole")
        run = stopped(train, 8, *SGD)
        assert train("resume=stopped", "optimizer.learning_rate=0.125").status == 0
        assert [record["hyperparameter/learning_rate"] for record in run.records] == [0.5, 0.125, 0.125]
        for name in ("best", "last"):
            assert (run.folder / "checkpoints" / f"{name}.safetensors").read_bytes() == (
                whole.folder / "checkpoints" / f"{name}.safetensors"
            ).read_bytes()

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("model.hidden=[5]", ("dense_1.W", "(64, 4)", "(64, 5)")),
            ("model.hidden=[4,4]", ("dense_2.W", "(4, 10)", "(4, 4)")),
            ("optimizer=adam", ("optimizer.dense_1.W.mean", "needs")),
            ("averaging=exponential", ("optimizer.dense_1.W.average", "needs")),
        ],
    )
    def test_what_does_not_fit_the_state_is_refused_by_its_name(
        self, train: Train, override: str, told: tuple[str, ...]
    ) -> None:
        run = stopped(train, 7, *SGD)
        whole = train(*SGD, folder="whole")
        before = (run.folder / ".hydra" / "config.yaml").read_bytes()
        refused = train("resume=stopped", override)
        assert refused.status == 2
        for text in told:
            assert text in refused.err
        # The run is as it was, and goes on without the mistake.
        assert (run.folder / ".hydra" / "config.yaml").read_bytes() == before
        assert train("resume=stopped").status == 0
        assert differences(left_by(whole.folder), left_by(run.folder)) == []

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("training.batch_size=20", "steps of 40 examples, but a step has 20 now"),
            ("training.accumulation=2", "steps of 40 examples, but a step has 80 now"),
            ("training.steps_per_epoch=6", "epoch of 5 steps, but an epoch has 6 now"),
        ],
    )
    def test_an_epoch_is_not_cut_otherwise_in_its_middle(
        self, train: Train, override: str, told: str
    ) -> None:
        run = stopped(train, 7, *SGD)
        whole = train(*SGD, folder="whole")
        refused = train("resume=stopped", override)
        assert refused.status == 2
        assert told in refused.err
        assert "training.batch_size" in refused.err
        assert train("resume=stopped").status == 0
        assert differences(left_by(whole.folder), left_by(run.folder)) == []

    def test_the_next_epoch_may_be_cut_otherwise(self, train: Train) -> None:
        train(*SGD, "training.epochs=1", folder="stopped")
        resumed = train("resume=stopped", "training.epochs=2", "training.batch_size=20")
        assert resumed.status == 0, resumed.err


class TestEarlyStopping:
    RUN = (
        *SMALL,
        "training.epochs=20",
        "optimizer=sgd",
        # A step so large that the validation loss soon gets worse.
        "optimizer.learning_rate=8",
        "training.non_finite=skip",
        "callbacks=early_stopping",
    )

    def test_a_run_that_was_stopped_early_goes_on_with_more_patience(self, train: Train) -> None:
        whole = train(*self.RUN, "callbacks.early_stopping.patience=5", folder="whole")
        run = train(*self.RUN, "callbacks.early_stopping.patience=2", folder="stopped")
        assert run.summary["status"] == whole.summary["status"] == "stopped_early"
        assert run.summary["epochs"] < whole.summary["epochs"]
        assert train("resume=stopped", "callbacks.early_stopping.patience=5").status == 0
        assert differences(left_by(whole.folder), left_by(run.folder)) == []

    def test_with_the_same_patience_it_stays_where_it_is(self, train: Train) -> None:
        run = train(*self.RUN, "callbacks.early_stopping.patience=2", folder="stopped")
        before = left_by(run.folder)
        resumed = train("resume=stopped")
        assert resumed.status == 0
        assert "has not improved for 2 epochs" in resumed.out
        assert differences(left_by(run.folder), before) == []


class TestWhatIsMissing:
    def test_without_a_checkpoint_the_run_begins_anew(self, train: Train) -> None:
        whole = train(*SMALL, folder="whole")
        run = stopped(train, 7, *SMALL)
        shutil.rmtree(run.folder / "checkpoints")
        resumed = train("resume=stopped")
        assert resumed.status == 0
        assert "stopped has no checkpoint: the run begins anew" in resumed.out
        assert differences(left_by(whole.folder), left_by(run.folder)) == []

    @pytest.mark.parametrize("place", ["nowhere", "empty", "file"])
    def test_a_folder_that_is_none_of_a_run_is_refused(
        self, train: Train, tmp_path: Path, place: str
    ) -> None:
        (tmp_path / "empty").mkdir()
        (tmp_path / "file").touch()
        refused = train(f"resume={place}")
        assert (refused.status, refused.out) == (2, "")
        assert f"{place} is not the folder of a run" in refused.err
        assert list((tmp_path / "empty").iterdir()) == []

    def test_of_a_damaged_checkpoint_the_one_before_is_taken_and_both_are_named(self, train: Train) -> None:
        whole = train(*SMALL, folder="whole")
        run = stopped(train, 13, *SMALL)
        *_, older, damaged = sorted((run.folder / "checkpoints").glob("step-*"))
        spoil(damaged)
        resumed = train("resume=stopped")
        assert resumed.status == 0
        told = " ".join(resumed.out.split())
        assert f"{damaged.name} is damaged and passed over: tensors.safetensors does not have" in told
        assert f"goes on after step {int(older.name[5:])}, from stopped/checkpoints/{older.name}" in told
        assert differences(left_by(whole.folder), left_by(run.folder)) == []

    def test_where_all_are_damaged_nothing_of_the_run_is_touched(self, train: Train) -> None:
        run = stopped(train, 13, *SMALL)
        for folder in (run.folder / "checkpoints").glob("step-*"):
            spoil(folder)
        before = contents(run.folder)
        refused = train("resume=stopped")
        assert refused.status == 1
        assert (
            "stopped/checkpoints has no sound checkpoint, only damaged ones: put back a copy" in refused.err
        )
        assert contents(run.folder) == before

    @pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
    @pytest.mark.parametrize("length", [0, 1000, 2000, -1])
    def test_a_truncated_checkpoint_is_passed_over(self, train: Train, file: str, length: int) -> None:
        run = stopped(train, 6, *SMALL)
        path = newest(run.folder) / file
        path.write_bytes(path.read_bytes()[:length])
        resumed = train("resume=stopped", "training.epochs=1")
        assert resumed.status == 0, resumed.err
        assert run.summary["steps"] == 5
        assert "step-000000006 is damaged" in " ".join(resumed.out.split())


class TestPlaces:
    def test_paths_may_be_absolute_or_relative_to_where_the_command_runs(
        self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = stopped(train, 2, *SMALL)
        with stopped_at(3):
            assert train(f"resume={run.folder}").status == 143
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        with stopped_at(4):
            assert train("resume=../stopped/").status == 143
        assert run.summary["steps"] == 4
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_one_job_of_a_multirun_goes_on(self, train: Train, tmp_path: Path) -> None:
        small = (*SMALL, "training.epochs=1", "hydra.sweep.dir=sweep")
        assert train("-m", *small, "optimizer=sgd,adam").status == 0
        first, second = (
            tmp_path / "sweep" / f"{job}_optimizer={rule}" for job, rule in enumerate(("sgd", "adam"))
        )
        beside = left_by(first)
        assert train(f"resume={second}", "training.epochs=2").status == 0
        summary = json.loads((second / "summary.json").read_bytes())
        assert (summary["epochs"], summary["status"]) == (2, "completed")
        assert differences(left_by(first), beside) == []

    def test_a_run_that_works_is_not_resumed_beside(self, train: Train) -> None:
        run = stopped(train, 7, *SMALL)
        before = contents(run.folder)
        with RunLock(run.folder):
            refused = train("resume=stopped", "training.epochs=9")
        assert refused.status == 2
        assert f"stopped is in use by process {os.getpid()} on " in refused.err
        assert contents(run.folder) == before

    @pytest.mark.parametrize("flag", ["-m", "--multirun"])
    def test_a_multirun_resumes_no_single_run(self, train: Train, flag: str) -> None:
        refused = train("resume=stopped", flag)
        assert refused.status == 2
        assert f"takes KEY=VALUE beside it, not {flag}" in refused.err


def test_the_best_epoch_of_before_stays_the_best(train: Train) -> None:
    """On the screen too: a row of a resumed run has a star only where it is better than those before."""
    worse = (*SMALL, "optimizer=sgd", "optimizer.learning_rate=0.5", "training.epochs=1")
    run = train(*worse, folder="stopped")
    best, test = load_file(run.folder / "checkpoints" / "best.safetensors"), run.summary["test"]
    resumed = train("resume=stopped", "training.epochs=3", "optimizer.learning_rate=5")
    assert resumed.status == 0
    assert run.summary["best"]["epoch"] == 1
    assert run.summary["test"] == test
    after = load_file(run.folder / "checkpoints" / "best.safetensors")
    assert all((after[name] == best[name]).all() for name in best)
    rows = [line for line in resumed.out.splitlines() if line.split()[:1] in (["2"], ["3"])]
    assert len(rows) == 2
    assert not [row for row in rows if row.endswith("*")]
