"""A run's data, memory, clock and umask are not as they should be: it says so, and keeps what it has."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.conftest import Finished
from tests.faults import full_disk, umask
from tests.left_by import differences, left_by
from tests.resuming import SMALL, during
from trainer.checkpoints import CheckpointStore
from trainer.hyperparameters import Hyperparameters
from trainer.loggers import Progress
from trainer.steering import Steering, files

Train = Callable[..., Finished]


def stored(folder: Path, rows: int = 400) -> tuple[str, ...]:
    """Write npy files of two classes, and return the arguments that train on them."""
    generator = np.random.default_rng(0)
    np.save(folder / "x.npy", generator.standard_normal((rows, 8)).astype("float32"))
    np.save(folder / "y.npy", generator.integers(0, 2, rows))
    return (*SMALL, "data=npy", f"data.inputs={folder / 'x.npy'}", f"data.targets={folder / 'y.npy'}")


def test_data_that_are_cut_short_end_the_run_with_their_name_and_it_goes_on_when_they_are_back(
    train: Train, tmp_path: Path
) -> None:
    arguments = stored(tmp_path)
    undisturbed = train(*arguments, folder="undisturbed")
    content = (tmp_path / "x.npy").read_bytes()
    with during(8, lambda: os.truncate(tmp_path / "x.npy", 200)):
        finished = train(*arguments)
    assert finished.status == 1
    assert finished.err == f"Error: {tmp_path}/x.npy: has 200 bytes now; it had more when the run began\n"
    assert finished.summary["status"] == "failed"
    assert CheckpointStore(finished.folder / "checkpoints").steps() == [5]
    (tmp_path / "x.npy").write_bytes(content)
    assert train("resume=run").status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


def test_data_that_are_deleted_are_read_to_the_runs_end_and_missed_when_it_is_resumed(
    train: Train, tmp_path: Path
) -> None:
    arguments = stored(tmp_path)
    with during(8, (tmp_path / "x.npy").unlink):
        finished = train(*arguments)
    assert finished.status == 0
    resumed = train("resume=run", "training.epochs=4")
    assert resumed.status == 2
    assert f"{tmp_path}/x.npy: cannot be read (No such file or directory)" in resumed.err


def test_a_model_too_large_is_told_with_what_was_asked_for(train: Train) -> None:
    finished = train(*SMALL[1:], "model.hidden=[100000000000]")
    assert finished.status == 1
    assert finished.err.startswith("Error: out of memory (Unable to allocate ")
    assert "with shape (64, 100000000000)" in finished.err
    assert "Lower training.batch_size=40" in finished.err
    assert len(finished.err.splitlines()) == 1


def test_memory_that_ends_during_training_is_told_with_the_sizes_of_what_is_there(train: Train) -> None:
    def fail() -> None:
        raise MemoryError

    with during(8, fail):
        finished = train(*SMALL)
    assert finished.status == 1
    # 64·4 + 4 + 4·10 + 10 = 310 float32 numbers; Adam keeps two for each, and the number of the step.
    # 1257 examples of 64 float32 numbers with a class of int32 each; 40 of them are a batch.
    for told in (
        "out of memory: the parameters take 1.24 KB; the optimizer's state 2.48 KB",
        "the training part 327 KB; a batch's inputs 10.2 KB",
        "Lower training.batch_size=40 (and raise training.accumulation=1",
        "data=npy",
    ):
        assert told in finished.err
    assert finished.summary["status"] == "failed"
    assert CheckpointStore(finished.folder / "checkpoints").steps() == [5]
    assert train("resume=run").status == 0


class GpuArrayException(Exception):
    """Stands for pygpu's, which gives libgpuarray's words as bytes."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            GpuArrayException(b"cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
            "(cuMemAlloc: CUDA_ERROR",
        ),
        (GpuArrayException(b"clCreateBuffer: Invalid buffer size"), "(clCreateBuffer: Invalid buffer size)"),
        (
            GpuArrayException(b"clEnqueueNDRangeKernel: Memory object allocation failure"),
            "(clEnqueueNDRangeKernel: ",
        ),
        (RuntimeError("GpuCorrMM failed to allocate working memory of 8 x 9"), "(GpuCorrMM failed"),
    ],
)
def test_memory_of_a_device_that_ends_is_told_likewise(train: Train, error: Exception, told: str) -> None:
    def fail() -> None:
        raise error

    with during(8, fail):
        finished = train(*SMALL)
    assert finished.status == 1
    assert finished.err.startswith(f"Error: out of memory {told}")
    assert "Lower training.batch_size=40" in finished.err


def test_a_clock_that_jumps_changes_no_duration_and_no_checkpoint(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    jumps = itertools.cycle([3600.0, -3600.0, 86400.0 * 365, 0.0])
    now = time.time
    with monkeypatch.context() as patch, during(3, lambda: time.sleep(0.2)):
        patch.setattr(time, "time", lambda: now() + next(jumps))
        began = time.monotonic()
        finished = train(
            *SMALL, "training.checkpoints.every_epochs=null", "training.checkpoints.every_minutes=0.003"
        )
        took = time.monotonic() - began
    assert finished.status == 0
    seconds = [record["seconds"] for record in finished.records]
    assert seconds == sorted(seconds)
    assert 0.2 <= seconds[-1] <= finished.summary["train_seconds"] <= took
    assert 0 <= finished.summary["compile_seconds"] <= took
    # 0.003 minutes are over after the third update.
    assert CheckpointStore(finished.folder / "checkpoints").steps()[0] == 3


@pytest.mark.parametrize("mask", [0o027, 0o077])
def test_files_are_made_with_the_users_umask(train: Train, mask: int) -> None:
    with umask(mask):
        finished = train(*SMALL[:-2])
    assert finished.status == 0
    found = {path.name for path in finished.folder.rglob("*")}
    assert {"train.log", "metrics.jsonl", "summary.json", "best.safetensors", "state.json"} <= found
    for path in [finished.folder, *finished.folder.rglob("*")]:
        wanted = (0o777 if path.is_dir() else 0o666) & ~mask
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_steering_on_a_full_disk_warns_once_of_each_file_and_holds_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hyperparameters = Hyperparameters()
    hyperparameters.add("learning_rate", 0.1)
    steering = Steering(tmp_path, hyperparameters, Progress(9, 10, 10), lambda: None)
    loop: Any = SimpleNamespace(
        outcome=SimpleNamespace(steps=0, epochs=0), signals=SimpleNamespace(received=None)
    )
    mail = tmp_path / files.FOLDER
    for rate in (0.2, 0.3):
        files.post(mail, {"set": {"learning_rate": rate}, "release": [], "command": None})
        with full_disk():
            time.sleep(0.05)
            steering(loop)
        assert hyperparameters.values()["learning_rate"] == pytest.approx(rate)
    assert len(caplog.messages) == len(set(caplog.messages))
    assert "steering/history.jsonl cannot be written (File too large)" in caplog.messages
    assert [path.name for path in mail.iterdir() if path.name.startswith(".")] == []
