"""A run's disk fills up, its folder cannot be written or is deleted: the run goes on, and loses nothing."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.conftest import ROOT, Finished, spawn
from tests.faults import fill_disk, full_disk, make_room, read_only, write_at_once
from tests.left_by import differences, left_by
from tests.resuming import SMALL, during
from trainer import folder_guard
from trainer.checkpoints import CheckpointStore
from trainer.commands import evaluate
from trainer.folder_lock import is_held
from trainer.loggers import LogFile, Pictures, Plan, Progress

Train = Callable[..., Finished]
LONGER = (*SMALL, "training.epochs=6", "training.checkpoints.keep=9")


@pytest.fixture(autouse=True)
def _has_room_afterwards() -> Iterator[None]:
    yield
    make_room()


@pytest.fixture
def _written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    write_at_once(monkeypatch)


def log_of(finished: Finished) -> str:
    return (finished.folder / "train.log").read_text()


def checkpoints(finished: Finished) -> list[int]:
    return CheckpointStore(finished.folder / "checkpoints").steps()


@pytest.mark.usefixtures("_written_at_once")
def test_a_disk_that_is_full_for_a_while_costs_only_the_checkpoints_of_that_time(train: Train) -> None:
    undisturbed = train(*LONGER, folder="undisturbed")
    with during(8, lambda: fill_disk(300)), during(23, make_room):
        finished = train(*LONGER)
    assert finished.status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []
    # Those after the updates 10, 15 and 20 were due meanwhile.
    assert checkpoints(finished) == [5, 25, 30]
    assert log_of(finished).count("cannot be written") == 3  # train.log, metrics.jsonl, the checkpoint
    assert "there is room again" in log_of(finished)
    assert "metrics.jsonl can be written again and is complete" in log_of(finished)


def test_nothing_of_the_log_is_lost_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(LogFile, "handleError", lambda self, record: complaints.append(record))
    handler = LogFile(str(tmp_path / "train.log"))
    log = logging.getLogger("trainer")
    log.addHandler(handler)
    try:
        with full_disk(30):
            for number in range(20):
                log.warning("line %d of the log", number)
        log.warning("the last line")
    finally:
        log.removeHandler(handler)
        handler.close()
    lines = (tmp_path / "train.log").read_text().splitlines()
    warning = next(line for line in lines if "cannot be written" in line)
    lines.remove(warning)
    assert lines == [*(f"line {number} of the log" for number in range(20)), "the last line"]
    assert complaints == []


def test_a_log_that_waits_too_long_keeps_its_newest_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainer.loggers import log_file

    monkeypatch.setattr(log_file, "MOST_WAITING", 100)
    handler = LogFile(str(tmp_path / "gone" / "train.log"))
    for number in range(1000):
        handler.emit(logging.makeLogRecord({"msg": f"line {number}"}))
    (tmp_path / "gone").mkdir()
    handler.close()
    lines = (tmp_path / "gone" / "train.log").read_text().splitlines()
    assert lines[-1] == "line 999"
    assert 5 < len(lines) < 20


def test_a_log_that_was_deleted_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    handler = LogFile(str(path))
    handler.emit(logging.makeLogRecord({"msg": "before"}))
    path.unlink()
    handler.emit(logging.makeLogRecord({"msg": "after"}))
    handler.close()
    assert path.read_text() == "after\n"


@pytest.mark.usefixtures("_written_at_once")
def test_an_end_that_does_not_fit_on_the_disk_is_a_failure_and_made_up_for_by_resuming(train: Train) -> None:
    undisturbed = train(*SMALL, folder="undisturbed")
    with during(13, lambda: fill_disk(1000)):
        finished = train(*SMALL)
    assert finished.status == 1
    assert "run lacks the end of the run (File too large): make room" in finished.err
    assert f"resume={finished.folder}" in finished.err
    assert not (finished.folder / "summary.json").exists()
    assert checkpoints(finished) == [5, 10]
    make_room()
    resumed = train("resume=run")
    assert resumed.status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


def test_a_resumption_on_a_full_disk_is_refused_and_changes_nothing(train: Train) -> None:
    first = train(*SMALL)
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    with full_disk(1000):
        resumed = train("resume=run", "training.epochs=4")
    make_room()
    assert resumed.status == 1
    assert "File too large" in resumed.err
    after = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    ours = {path for path in after if path.name not in ("train.log", ".lock")}
    assert {path: after[path] for path in ours} == {path: before[path] for path in ours}
    assert train("resume=run", "training.epochs=4").status == 0


def test_a_picture_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from matplotlib.figure import Figure

    def drawn(test: Any) -> dict[str, Figure]:
        return {"../outside": Figure(), "a/b": Figure(), "a\nb": Figure(), "fine": Figure()}

    folder = tmp_path / "run"
    folder.mkdir()
    pictures = Pictures()
    pictures.start(Plan(folder, "title", Progress(1, 1, 1), pictures=drawn))
    with full_disk(100):
        pictures.finish({"test": {"loss": 1.0}})
    assert caplog.messages[-1] == "fine.png cannot be written (File too large)"
    pictures.finish({"test": {"loss": 1.0}})
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*.png")} == {Path("run/fine.png")}


def test_a_screen_on_a_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", *SMALL, "hydra.run.dir=run"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["status"] == "completed"


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir()
    with read_only(folder):
        finished = train(*SMALL, folder="closed/run")
        assert finished.status == 1
        assert "closed/run" in finished.err
        assert "Permission denied" in finished.err
        assert "hydra.run.dir" in finished.err
        assert len(finished.err.splitlines()) == 1
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("_written_at_once")
def test_a_deleted_folder_is_made_again_and_the_run_ends_as_if_nothing_had_been(
    train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder_guard, "LOOK_SECONDS", 0.0)
    undisturbed = train(*LONGER, folder="undisturbed")
    locked: list[bool] = []
    with (
        during(13, lambda: shutil.rmtree("run")),
        during(20, lambda: locked.append(is_held(Path("run")))),
    ):
        finished = train(*LONGER)
    assert finished.status == 0
    assert finished.out.count("was deleted while the run works on it: it is made again") == 1
    assert locked == [True]
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []
    assert checkpoints(finished) == [13, 15, 20, 25, 30]
    best = "checkpoints/best.safetensors"
    assert load_file(finished.folder / best).keys() == load_file(undisturbed.folder / best).keys()
    assert train("resume=run", "training.epochs=7").status == 0
    assert evaluate.main([str(finished.folder)]) == 0


@pytest.mark.usefixtures("_written_at_once")
def test_a_folder_that_cannot_be_made_again_costs_no_training_but_the_status(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_guard, "LOOK_SECONDS", 0.0)

    def replace() -> None:
        shutil.rmtree("run")
        Path("run").write_text("something else")

    with during(7, replace):
        finished = train(*SMALL)
    assert finished.status == 1
    assert "run lacks the end of the run" in finished.err
    assert finished.out.count("was deleted and cannot be made again") == 1
    assert "completed" in finished.out
    assert Path("run").read_text() == "something else"


@pytest.mark.usefixtures("_written_at_once")
def test_weights_that_were_deleted_are_there_again_at_the_end(train: Train) -> None:
    # The greatest loss is that of the first epoch, whose weights nothing writes later.
    arguments = (*SMALL, "training.mode=max")
    undisturbed = train(*arguments, folder="undisturbed")
    with during(14, lambda: shutil.rmtree("run/checkpoints")):
        finished = train(*arguments)
    assert finished.status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


def test_runs_that_start_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import datetime\n"
        "class Standing(datetime.datetime):\n"
        "    @classmethod\n"
        "    def now(cls, tz=None):\n"
        "        return cls(2026, 11, 22, 10, 0, 0)\n"
        "datetime.datetime = Standing\n"
    )
    path = f"{tmp_path}:{ROOT}"
    processes = [spawn(*SMALL, cwd=tmp_path, env_add={"PYTHONPATH": path}) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    runs = tmp_path / "outputs" / "2026-11-22"
    assert sorted(folder.name for folder in runs.iterdir()) == ["10-00-00", "10-00-00-2"]
    for folder in runs.iterdir():
        assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
