"""A sweep that goes on: what is done stays, what was stopped goes on, what failed or is missing is run."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import kill_sweep
from tests.conftest import Finished
from tests.kill_sweep import TIMES
from tests.left_by import differences, left_by
from tests.resuming import SMALL, Train, during
from trainer.folder_lock import RunLock
from trainer.sweep.manifest import Manifest
from trainer.sweep.space import settled
from trainer.training import Loop, Outcome

SEARCH = ("optimizer.learning_rate=0.1,0.01", "training.seed=1,2")
PAIR = ("training.seed=1,2",)
DIRECTORY = "hydra.sweep.dir=sweep"

pytestmark = pytest.mark.usefixtures("uncompiled")


class Killed(BaseException):
    """Ends a process as a SIGKILL does: nothing is caught, nothing written after it."""


@pytest.fixture
def sweep(train: Train, tmp_path: Path) -> Callable[..., Finished]:
    def call(*arguments: str) -> Finished:
        return train("--multirun", *arguments, folder="sweep")

    return call


@contextmanager
def in_job(number: int, update: int, action: Callable[[], object]) -> Iterator[None]:
    """Let something happen at an update of the job that is the so-many-th to train, from 0."""
    run, trained = Loop.run, list[Loop]()

    def counted(loop: Loop) -> Outcome:
        trained.append(loop)
        return run(loop)

    Loop.run = counted  # type: ignore[assignment, method-assign]
    try:
        with during(update, lambda: action() if len(trained) == number + 1 else None):
            yield
    finally:
        Loop.run = run  # type: ignore[method-assign]


def kill() -> None:
    """Kill the newest job, as soon as the thread that writes its state of epoch 1 is done."""
    end = time.monotonic() + 60
    while not (jobs(Path("sweep"))[-1] / "checkpoints" / "step-000000005").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    raise Killed


def fail() -> None:
    raise RuntimeError("the cable was pulled")


def jobs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/.hydra"))


def summary(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "summary.json").read_bytes())
    return content


def table(folder: Path) -> list[list[str]]:
    lines = [line.split(",") for line in (folder / "sweep.csv").read_text().splitlines()]
    return [line[: -len(TIMES)] for line in lines]


def assert_same(one: Path, other: Path) -> None:
    assert [job.name for job in jobs(one)] == [job.name for job in jobs(other)]
    for mine, yours in zip(jobs(one), jobs(other), strict=True):
        assert differences(left_by(mine), left_by(yours)) == []
    assert table(one) == table(other)


class TestWhatIsLeftToDo:
    def test_killed_twice_and_resumed_twice_it_ends_as_one_that_was_not(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        assert sweep(*SMALL, *SEARCH, "hydra.sweep.dir=whole").status == 0
        with pytest.raises(Killed), in_job(1, 8, kill):
            sweep(*SMALL, *SEARCH, DIRECTORY)
        assert not (jobs(tmp_path / "sweep")[1] / "summary.json").exists()
        with pytest.raises(Killed), in_job(1, 7, kill):
            sweep("sweep.resume=sweep")
        assert len(jobs(tmp_path / "sweep")) == 3
        resumed = sweep(*SMALL, *SEARCH, "sweep.resume=sweep")
        assert resumed.status == 0, resumed.err
        assert_same(tmp_path / "whole", tmp_path / "sweep")
        log = (jobs(tmp_path / "sweep")[1] / "train.log").read_text()
        assert "goes on after step 5" in log

    def test_what_is_done_is_not_trained_again(
        self, sweep: Callable[..., Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert sweep(*SMALL, *PAIR, DIRECTORY).status == 0
        before = {path: path.read_bytes() for path in tmp_path.glob("sweep/*/*.json*")}
        monkeypatch.setattr(Loop, "run", lambda loop: pytest.fail("it trains"))
        assert sweep("sweep.resume=sweep").status == 0
        assert {path: path.read_bytes() for path in tmp_path.glob("sweep/*/*.json*")} == before

    def test_the_same_command_once_more_with_the_same_folder_goes_on(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        """A scheduler that starts a batch script again does so."""
        with pytest.raises(Killed), in_job(1, 8, kill):
            sweep(*SMALL, *PAIR, DIRECTORY)
        first = summary(jobs(tmp_path / "sweep")[0])
        assert sweep(*SMALL, *PAIR, DIRECTORY).status == 0
        assert summary(jobs(tmp_path / "sweep")[0]) == first
        assert len(jobs(tmp_path / "sweep")) == 2

    def test_failed_and_missing_jobs_are_run_anew(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        assert sweep(*SMALL, *SEARCH, "hydra.sweep.dir=whole").status == 0
        with in_job(1, 8, fail):
            failed = sweep(*SMALL, *SEARCH, DIRECTORY)
        folders = jobs(tmp_path / "sweep")
        assert failed.status == 1
        assert "RuntimeError: the cable was pulled" in failed.err
        assert summary(folders[1])["error"].startswith("RuntimeError: the cable was pulled")
        shutil.rmtree(folders[2])
        assert sweep("sweep.resume=sweep").status == 0
        assert_same(tmp_path / "whole", tmp_path / "sweep")
        assert "goes on" not in (folders[1] / "train.log").read_text()

    def test_a_state_is_not_lost_where_its_job_cannot_go_on(
        self, sweep: Callable[..., Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "fragile_rules.py").write_text("from trainer.updates import sgd as fragile\n")
        monkeypatch.syspath_prepend(tmp_path)
        own = ("optimizer=sgd", "optimizer._target_=fragile_rules.fragile", "training.seed=1")
        with pytest.raises(Killed), in_job(0, 12, kill):
            sweep(*SMALL, *own, DIRECTORY)
        (tmp_path / "fragile_rules.py").rename(tmp_path / "away.py")
        monkeypatch.delitem(__import__("sys").modules, "fragile_rules")
        refused = sweep("sweep.resume=sweep")
        assert refused.status == 2
        assert "fragile_rules" in refused.err
        (tmp_path / "away.py").rename(tmp_path / "fragile_rules.py")
        __import__("importlib").invalidate_caches()
        assert sweep("sweep.resume=sweep").status == 0
        assert "goes on after step" in (jobs(tmp_path / "sweep")[0] / "train.log").read_text()

    def test_more_epochs_are_trained_by_all_jobs_and_fewer_are_refused(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        longer = [word for word in SMALL if not word.startswith("training.epochs")]
        assert sweep(*longer, "training.epochs=4", *PAIR, "hydra.sweep.dir=whole").status == 0
        assert sweep(*SMALL, *PAIR, DIRECTORY).status == 0
        fewer = sweep("sweep.resume=sweep", "training.epochs=2")
        assert fewer.status == 2
        assert "training.epochs=2, where sweep has 3: a sweep goes on to more epochs" in fewer.err
        assert sweep("sweep.resume=sweep", "training.epochs=4").status == 0
        assert [summary(job)["epochs"] for job in jobs(tmp_path / "sweep")] == [4, 4]
        assert [job.name for job in jobs(tmp_path / "sweep")] == [
            job.name for job in jobs(tmp_path / "whole")
        ]
        for one, other in zip(jobs(tmp_path / "whole"), jobs(tmp_path / "sweep"), strict=True):
            assert left_by(one)["metrics.jsonl"] == left_by(other)["metrics.jsonl"]

    def test_a_job_still_at_work_elsewhere_is_named_and_nothing_is_touched(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        with pytest.raises(Killed), in_job(1, 8, kill):
            sweep(*SMALL, *PAIR, DIRECTORY)
        folder = jobs(tmp_path / "sweep")[1]
        before = left_by(folder)
        with RunLock(folder):
            refused = sweep("sweep.resume=sweep")
        assert refused.status == 2
        assert f"{folder.name} is still being trained by process" in refused.err
        assert differences(left_by(folder), before) == []

    def test_a_sweep_is_launched_by_one_process_at_a_time(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        assert sweep(*SMALL, "training.seed=1", DIRECTORY).status == 0
        with RunLock(tmp_path / "sweep"):
            refused = sweep("sweep.resume=sweep")
        assert refused.status == 2
        assert "sweep is being swept by process" in refused.err


class TestTheSearch:
    @pytest.mark.parametrize(
        ("now", "told"),
        [
            (
                ("optimizer.learning_rate=0.1,0.2", SEARCH[1]),
                "optimizer.learning_rate was 0.1,0.01, and is now",
            ),
            ((SEARCH[0],), "training.seed was 1,2, and is now not given"),
            (
                ("training.seed=1,3",),
                "else: training.seed was 1,2, and is now 1,3; optimizer.learning_rate was 0.1,0.01, and is",
            ),
            ((*SEARCH, "model.dropout=0.5"), "model.dropout was not given, and is now 0.5"),
            ((*SEARCH, "optimizer=sgd"), "optimizer was not given, and is now sgd"),
            ((*SEARCH, "device.precision=float64"), "device.precision was not given"),
            ((*SEARCH, "hydra.sweep.subdir=x"), "hydra.sweep.subdir was not given"),
            (("hydra/sweeper=optuna",), "hydra/sweeper was not given, and is now optuna"),
            (("training.epochs=3,4",), "training.epochs was 3, now 3,4"),
        ],
    )
    def test_another_one_is_refused_with_what_differs(
        self, sweep: Callable[..., Finished], tmp_path: Path, now: tuple[str, ...], told: str
    ) -> None:
        begun(tmp_path)
        words = now if now[0].startswith("training.epochs") else (*SMALL, *now)
        refused = sweep(*words, "sweep.resume=sweep")
        assert refused.status == 2
        assert told in refused.err
        assert len(refused.err.splitlines()) == 1
        assert jobs(tmp_path / "sweep") == []

    def test_written_otherwise_and_in_another_order_it_is_the_same(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        begun(tmp_path)
        again = ("training.seed=range(1,3)", "optimizer.learning_rate=choice(0.1,0.01)", *SMALL)
        assert sweep(*again, "sweep.resume=sweep").status == 0
        overrides = [
            yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text())
            for job in jobs(tmp_path / "sweep")
        ]
        varied = [
            [word for word in job if word.startswith(("optimizer", "training.seed"))] for job in overrides
        ]
        assert varied == [
            [f"optimizer.learning_rate={rate}", f"training.seed={seed}"]
            for rate in (0.1, 0.01)
            for seed in (1, 2)
        ]

    def test_what_concerns_the_machine_may_change_and_jobs_that_are_done_keep_what_they_had(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        with pytest.raises(Killed), in_job(1, 8, kill):
            sweep(*SMALL, *PAIR, DIRECTORY)
        folders = jobs(tmp_path / "sweep")
        before = (folders[0] / ".hydra" / "config.yaml").read_bytes()
        changed = ("training.evaluation_batch_size=70", "training.checkpoints.keep=3")
        assert sweep("sweep.resume=sweep", *changed).status == 0
        assert (folders[0] / ".hydra" / "config.yaml").read_bytes() == before
        for name, sizes in zip(("config.yaml", "begun.yaml"), (70, 70), strict=True):
            assert f"evaluation_batch_size: {sizes}" in (folders[1] / ".hydra" / name).read_text()
        assert "training.evaluation_batch_size=70" in Manifest.read(tmp_path / "sweep").overrides

    def test_a_files_change_between_two_lives_is_refused_to_the_job_that_it_concerns(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        mine = tmp_path / "conf" / "optimizer" / "mine.yaml"
        mine.parent.mkdir(parents=True)
        mine.write_text("_target_: trainer.updates.sgd\nlearning_rate: 0.1\n")
        words = ("--config-dir", str(tmp_path / "conf"))
        assert sweep(*words, *SMALL, "optimizer=mine,adam", DIRECTORY).status == 0
        folder = jobs(tmp_path / "sweep")[0]
        before = left_by(folder), (folder / ".hydra" / "config.yaml").read_bytes()
        mine.write_text("_target_: trainer.updates.sgd\nlearning_rate: 0.2\n")
        refused = sweep("sweep.resume=sweep")
        assert refused.status == 2
        assert "optimizer.learning_rate is 0.1 there, and 0.2 is asked for" in refused.err
        assert "1 of 2 jobs is not done" in refused.err
        assert differences(left_by(folder), before[0]) == []
        assert (folder / ".hydra" / "config.yaml").read_bytes() == before[1]
        mine.write_text("_target_: trainer.updates.sgd\nlearning_rate: 0.1\n")
        assert sweep("sweep.resume=sweep").status == 0

    def test_shuffled_values_are_drawn_once(self) -> None:
        (drawn,) = settled(["training.seed=shuffle(range(1,9))"])
        key, _, values = drawn.partition("=")
        assert key == "training.seed"
        assert sorted(map(int, values.split(","))) == list(range(1, 9))
        assert settled([drawn, "-m", "data.shuffle=true"]) == [drawn, "-m", "data.shuffle=true"]

    def test_a_jobs_folder_knows_nothing_of_the_resumption(
        self, sweep: Callable[..., Finished], tmp_path: Path
    ) -> None:
        begun(tmp_path)
        assert sweep("sweep.resume=sweep").status == 0
        for path in tmp_path.glob("sweep/*/.hydra/*.yaml"):
            assert "sweep.resume=sweep" not in path.read_text()
        assert not [job for job in jobs(tmp_path / "sweep") if "resume" in job.name]


class TestWhatIsNoSweep:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (("sweep.resume=sweep",), "sweep.resume=sweep goes on with a sweep: add --multirun"),
            (("-m", "sweep.resume=absent"), "there is no folder absent"),
            (
                ("-m", "sweep.resume=empty"),
                "empty is not the folder of a sweep: it has neither sweep.json nor",
            ),
            (("-m", "sweep.resume=run"), "run is the folder of one run: resume=run goes on with it"),
            (("-m", "sweep.resume=damaged"), "damaged/sweep.json cannot be read"),
            (("-m", "sweep.resume=sweep", "hydra.sweep.dir=other"), "leave hydra.sweep.dir=other out"),
            (("-m", "training.seed=1,2", "hydra.sweep.dir=run"), "hydra.sweep.dir=run holds a run already"),
            (("-m", "training.seed=1,2", "sweep.resume=sweep"), "sweep has searched something else"),
        ],
    )
    def test_it_is_refused_in_one_sentence(
        self, train: Train, tmp_path: Path, words: tuple[str, ...], told: str
    ) -> None:
        begun(tmp_path)
        (tmp_path / "empty").mkdir()
        (tmp_path / "run" / ".hydra").mkdir(parents=True)
        (tmp_path / "run" / ".hydra" / "config.yaml").write_text("{}")
        (tmp_path / "run" / "metrics.jsonl").touch()
        (tmp_path / "damaged").mkdir()
        (tmp_path / "damaged" / "sweep.json").write_text('{"overrides": 3')
        refused = train(*words)
        assert refused.status == 2
        assert told in refused.err
        assert len(refused.err.splitlines()) == 1

    @pytest.mark.parametrize(
        "content", [b"", b"[]", b"{}", b'{"overrides": [1], "search_space": {}}', b"[" * 10**5, b"\xff\xfe"]
    )
    def test_where_its_own_file_is_damaged_hydras_is_read(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "sweep.json").write_bytes(content)
        hydra = {
            "overrides": {"hydra": ["hydra.mode=MULTIRUN", "hydra.sweep.dir='x'"], "task": list(SEARCH)},
            "runtime": {"choices": {"hydra/sweeper": "basic", "hydra/launcher": "joblib"}},
        }
        training = {"monitor": "validation/accuracy", "mode": "max", "epochs": 7}
        (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra, "training": training}))
        manifest = Manifest.read(tmp_path)
        assert manifest.overrides == SEARCH
        assert (manifest.launcher, manifest.mode, manifest.epochs) == ("joblib", "max", 7)
        assert manifest.search_space == dict(word.split("=") for word in SEARCH)

    def test_a_single_job_is_a_sweep_too(self, sweep: Callable[..., Finished], tmp_path: Path) -> None:
        assert sweep(*SMALL, DIRECTORY).status == 0
        assert [job.name for job in jobs(tmp_path / "sweep")] == ["0"]
        assert Manifest.read(tmp_path / "sweep").total == 1
        assert sweep("sweep.resume=sweep").status == 0


def begun(place: Path) -> None:
    """Leave a sweep as its launcher leaves it that was killed before the first job."""
    folder = place / "sweep"
    folder.mkdir()
    search = dict(word.split("=") for word in SEARCH)
    Manifest(overrides=(*SMALL, *SEARCH), search_space=search, total=4, epochs=3).write(folder)


@pytest.mark.parametrize(("launcher", "jobs_", "kills"), [("basic", 4, 2), ("joblib", 2, 1)])
def test_killed_at_random_moments_it_leaves_the_same(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    jobs_: int,
    kills: int,
) -> None:
    """When a kill hits depends on the machine; what the sweep leaves does not."""
    if launcher == "joblib":
        pytest.importorskip("joblib")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    counts = ["--jobs", str(jobs_), "--kills", str(kills), "--epochs", "12"]
    status = kill_sweep.main(["--launcher", launcher, "--seed", "3", *counts])
    told = capsys.readouterr().out
    assert status == 0, told
    assert "are the same, times aside" in told
