"""A member that takes over another's state: whole, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.checkpoints import CheckpointStore, State, save_tensors
from trainer.errors import RunError, UsageError
from trainer.folder_lock import RunLock
from trainer.sweep.population_folders import score, take_over

KILLED, WHOLE = 9, 0
FILE_OPERATIONS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link")


def member(folder: Path, value: float, epochs: int) -> Path:
    """Make what a member leaves that has trained so many epochs."""
    folder.mkdir()
    store = CheckpointStore(folder / "checkpoints", keep=2)
    store.folder.mkdir()
    lines = []
    for epoch in range(1, epochs + 1):
        save_tensors(store.folder / "best.safetensors", {"W": np.full(3, value + epoch)})
        store.save(
            State({"weights.W": np.full(3, value + epoch)}, {"epochs": epoch}), 10 * epoch, is_best=True
        )
        lines.append(
            json.dumps({"epoch": epoch, "step": 10 * epoch, "validation/loss": value / epoch}) + "\n"
        )
    (folder / "metrics.jsonl").write_text("".join(lines))
    (folder / "summary.json").write_text(json.dumps({"status": "interrupted", "epochs": epochs}))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder but the lock, by their places in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return member(tmp_path / "0_member", 1.0, 3), member(tmp_path / "1_member", 5.0, 2)


def test_a_member_takes_over_the_newest_state_the_best_weights_and_the_records(
    pair: tuple[Path, Path],
) -> None:
    child, parent = pair
    before = content(parent)
    take_over(child, parent, 2, 1)
    assert content(parent) == before
    state = CheckpointStore(child / "checkpoints").newest_sound()
    assert state is not None
    assert state.step == 20
    assert state.state.tensors["weights.W"].tolist() == [7.0] * 3
    assert state.files.keys() == {"best.safetensors"}
    assert (child / "metrics.jsonl").read_bytes() == (parent / "metrics.jsonl").read_bytes()
    assert not (child / "summary.json").exists()


def test_what_loggers_wrote_of_other_records_goes(pair: tuple[Path, Path]) -> None:
    child, parent = pair
    for folder in pair:
        for name in ("metrics.csv", "events.out.tfevents.1.0000.host", "mlflow.json", "train.log"):
            (folder / name).write_text(name)
    before = content(parent)
    take_over(child, parent, 2, 1)
    left = {path.name for path in child.iterdir() if path.is_file()} - {".lock", "taken_over.json"}
    assert left == {"metrics.jsonl", "mlflow.json", "train.log"}
    assert content(parent) == before


def test_what_the_child_records_next_does_not_reach_the_parent(pair: tuple[Path, Path]) -> None:
    child, parent = pair
    before = content(parent)
    take_over(child, parent, 2, 1)
    with (child / "metrics.jsonl").open("a") as file:
        file.write("{}\n")
    store = CheckpointStore(child / "checkpoints", keep=1)
    save_tensors(store.folder / "best.safetensors", {"W": np.zeros(3)})
    store.save(State({"weights.W": np.zeros(3)}, {}), 20)
    store.save(State({"weights.W": np.zeros(3)}, {}), 30)
    assert content(parent) == before


def test_a_state_that_was_taken_over_is_not_taken_again_in_the_same_generation(
    pair: tuple[Path, Path],
) -> None:
    child, parent = pair
    take_over(child, parent, 2, 1)
    (child / "metrics.jsonl").write_text("went on\n")
    take_over(child, parent, 2, 1)
    assert (child / "metrics.jsonl").read_text() == "went on\n"
    take_over(child, parent, 3, 1)
    assert (child / "metrics.jsonl").read_bytes() == (parent / "metrics.jsonl").read_bytes()


def test_a_member_that_has_left_nothing_takes_over_too(pair: tuple[Path, Path], tmp_path: Path) -> None:
    take_over(tmp_path / "2_member", pair[1], 1, 1)
    assert CheckpointStore(tmp_path / "2_member" / "checkpoints").steps() == [10, 20]


def test_a_kill_between_any_two_file_operations_is_survived(tmp_path: Path) -> None:
    original = member(tmp_path / "child", 1.0, 3), member(tmp_path / "parent", 5.0, 2)
    before = content(original[1])
    alone = shutil.copytree(original[0], tmp_path / "alone")
    take_over(alone, original[1], 2, 1)
    expected = content(alone)
    kills = 0
    while True:
        child, parent = (shutil.copytree(path, tmp_path / f"{kills}_{path.name}") for path in original)
        ended = _take_over_in_a_process_killed_at(kills, child, parent)
        take_over(child, parent, 2, 1)
        assert content(child) == expected
        assert content(parent) == before
        if ended == WHOLE:
            break
        assert ended == KILLED
        kills += 1
    assert kills > 15


def _take_over_in_a_process_killed_at(operation: int, child: Path, parent: Path) -> int:
    """Take over in a process that ends before its file operation of that number; return its status."""
    process = os.fork()
    if not process:
        left = operation

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in FILE_OPERATIONS:
                if not left:
                    os._exit(KILLED)
                left -= 1

        sys.addaudithook(watch)
        try:
            take_over(child, parent, 2, 1)
            os._exit(WHOLE)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_member_that_is_still_trained_is_left_alone(pair: tuple[Path, Path]) -> None:
    child, parent = pair
    before = content(child)
    with RunLock(parent), pytest.raises(UsageError, match="is in use by"):
        take_over(child, parent, 2, 1)
    assert content(child) == before


def test_a_parent_without_a_state_is_told(pair: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "2_member").mkdir()
    with pytest.raises(RunError, match="cannot take over the state"):
        take_over(pair[0], tmp_path / "2_member", 2, 2)


def test_the_score_is_that_of_the_last_epoch(pair: tuple[Path, Path]) -> None:
    assert score(pair[0], "validation/loss", epoch=3) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "end",
    [{"status": "failed"}, {"status": "diverged"}, {"status": "interrupted", "error": "a disk is full"}],
)
def test_a_member_that_failed_has_no_score(pair: tuple[Path, Path], end: dict[str, str]) -> None:
    (pair[0] / "summary.json").write_text(json.dumps({"epochs": 2, **end}))
    assert score(pair[0], "validation/loss", epoch=3) is None


def test_a_member_without_an_end_has_no_score(pair: tuple[Path, Path]) -> None:
    (pair[0] / "summary.json").unlink()
    assert score(pair[0], "validation/loss", epoch=3) is None


def test_a_member_that_was_stopped_in_its_slice_does_not_count_as_done(pair: tuple[Path, Path]) -> None:
    with pytest.raises(RunError, match=r"was stopped before the end of epoch 4: .*sweep\.resume="):
        score(pair[0], "validation/loss", epoch=4)


def test_a_metric_that_is_not_measured_is_told(pair: tuple[Path, Path]) -> None:
    with pytest.raises(RunError, match="has no validation/accuracy"):
        score(pair[0], "validation/accuracy", epoch=3)
