"""Saving a running training: what is copied, when, by whom, and what a failing disk costs."""

from __future__ import annotations

import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import theano
from safetensors.numpy import load_file
from theano import tensor

from trainer.checkpoints import CheckpointStore, Job, State, Writer
from trainer.checkpoints.checkpointer import Checkpointer, Every
from trainer.checkpoints.snapshot import Snapshot
from trainer.kernels import copying
from trainer.kernels.finite import check_finite, hold
from trainer.training import WeightKeeper

GENERATOR = np.random.default_rng(0)


def shared(name: str, shape: tuple[int, ...], dtype: str = "float32", order: Any = "C") -> Any:
    numbers = np.asarray(100 * GENERATOR.standard_normal(shape)).astype(dtype)
    return theano.shared(np.array(numbers, order=order), name, borrow=True)


def variables() -> dict[str, Any]:
    """Of the kinds that a training has: small, large, whole numbers, zero-dimensional, either layout."""
    found = [
        shared("W", (400, 500)),
        shared("W.velocity", (400, 500), order="F"),
        shared("odd", (70_001,), "float64"),
        shared("masks", (30, 6), "int32"),
        shared("t", ()),
        shared("none", (0, 3)),
    ]
    found.append(theano.shared(np.arange(12.0)[::2], "strided", borrow=True))
    return {variable.name: variable for variable in found}


def values_of(found: dict[str, Any]) -> dict[str, Any]:
    return {name: variable.get_value().copy() for name, variable in found.items()}


def change(found: dict[str, Any]) -> None:
    for variable in found.values():
        memory = variable.get_value(borrow=True)
        memory += 1


def assert_same(copies: Any, wanted: Any) -> None:
    assert set(copies) == set(wanted)
    for name, array in copies.items():
        assert (array.dtype, array.shape) == (wanted[name].dtype, wanted[name].shape)
        np.testing.assert_array_equal(array, wanted[name])


class Slow:
    """A store whose writing waits until it is allowed."""

    def __init__(self, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.allowed = threading.Event()
        write = store.write

        def wait_and_write(*arguments: Any) -> Path:
            assert self.allowed.wait(30)
            return write(*arguments)

        monkeypatch.setattr(store, "write", wait_and_write)


@contextmanager
def full_disk(size: int = 1000) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail with an OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def checkpointer_for(folder: Path, found: dict[str, Any], **options: Any) -> Checkpointer:
    store = CheckpointStore(folder / "checkpoints", keep=9)
    return Checkpointer(store, found, lambda: {"at": 1}, **{"every": Every(steps=1), **options})


def test_a_snapshot_is_what_the_variables_were_and_stays_it() -> None:
    found = variables()
    snapshot = Snapshot(found)
    for _ in range(2):
        wanted = values_of(found)
        snapshot.take()
        change(found)
        assert_same(snapshot.tensors, wanted)


def test_a_snapshot_uses_the_same_memory_again_and_follows_new_arrays() -> None:
    found = variables()
    snapshot = Snapshot(found)
    places = {name: array.ctypes.data for name, array in snapshot.tensors.items()}
    for name, variable in found.items():
        if name != "masks":
            variable.set_value(variable.get_value() + 1)
    found["masks"].set_value(np.ones((2, 6), "int32"))
    snapshot.take()
    assert_same(snapshot.tensors, values_of(found))
    assert {n: a.ctypes.data for n, a in snapshot.tensors.items() if n != "masks"} == {
        name: place for name, place in places.items() if name != "masks"
    }


@pytest.mark.parametrize("sizes", [(2**18 - 1, 2**18 + 1, 3), (2**20 + 37,)])
def test_blocks_of_any_size_and_place_are_copied_and_nothing_beside_them(sizes: tuple[int, ...]) -> None:
    for offset in (0, 1, 63):
        sources = [GENERATOR.integers(0, 256, size + 200, np.uint8) for size in sizes]
        targets = [np.zeros(size + 200, np.uint8) for size in sizes]
        blocks = [slice(100 + offset, 100 + size) for size in sizes]
        copying.copy_arrays(
            [
                (to[block], source[1:][block])
                for to, source, block in zip(targets, sources, blocks, strict=True)
            ]
        )
        for target, source, block in zip(targets, sources, blocks, strict=True):
            np.testing.assert_array_equal(target[block], source[1:][block])
            assert not target[: block.start].any()
            assert not target[block.stop :].any()


def test_without_a_compiler_the_same_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = tensor.lmatrix()
    slow = theano.function([blocks], copying.CopyBlocks()(blocks), mode=theano.Mode("py", optimizer=None))
    monkeypatch.setattr(copying, "copier", lambda: slow)
    source, target = GENERATOR.standard_normal(1000), np.zeros(1000)
    copying.copy_arrays([(target[:500], source[:500]), (target[500:], source[500:])])
    np.testing.assert_array_equal(target, source)


@pytest.mark.parametrize("wrong", [np.zeros((3, 2)), np.zeros((2, 3), "f4"), np.zeros((2, 3), order="F")])
def test_only_arrays_that_are_laid_out_alike_are_copied(wrong: Any) -> None:
    with pytest.raises(ValueError, match="laid out alike"):
        copying.copy_arrays([(wrong, np.zeros((2, 3)))])


def test_a_step_writes_only_when_the_copy_beside_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The copying is held until the step stands at its gate: it must find what was there before the step."""
    weights = theano.shared(np.arange(6.0), "W")
    statistics = theano.shared(np.zeros(6), "statistics")
    loss = (weights**2).sum()
    (gradient,), norm = check_finite(loss, [theano.grad(loss, weights)], ["W"])
    updates = {weights: weights - 0.5 * gradient, statistics: statistics + 1}
    found = {"W": weights, "statistics": statistics}
    snapshot = Snapshot(found, gated=found)
    at_gate = threading.Event()
    copy_arrays = copying.copy_arrays

    def late(pairs: Any) -> None:
        assert at_gate.wait(30)
        time.sleep(0.02)
        copy_arrays(pairs)

    monkeypatch.setattr("trainer.checkpoints.snapshot.copy_arrays", late)

    def wait() -> None:
        at_gate.set()
        snapshot.settle()

    # In Python, but with all that writes in place.
    mode = theano.Mode("py", optimizer="fast_run")
    outputs = [hold(copying.gate(norm, wait), updates)]
    step = theano.function([], outputs, updates=list(updates.items()), mode=mode)
    for _ in range(3):
        at_gate.clear()
        before = values_of(found)
        snapshot.take()
        step()
        assert_same(snapshot.tensors, before)
        assert values_of(found)["statistics"].tolist() == (before["statistics"] + 1).tolist()


def test_checkpoints_are_due_by_steps_by_epochs_and_by_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def due(every: Every) -> list[tuple[int, int]]:
        checkpointer = checkpointer_for(tmp_path, {}, every=every)
        moments = []
        for step in range(1, 13):
            now[0] += 20
            if checkpointer.due(step, step // 3 if step % 3 == 0 else 0):
                moments.append((step, step // 3))
                checkpointer.save_now(step)
        return moments

    assert due(Every(steps=5)) == [(5, 1), (10, 3)]
    assert due(Every(epochs=2)) == [(6, 2), (12, 4)]
    assert due(Every(minutes=1)) == [(3, 1), (6, 2), (9, 3), (12, 4)]
    assert due(Every(steps=4, epochs=2)) == [(4, 1), (6, 2), (8, 2), (12, 4)]
    assert due(Every()) == []


def test_what_is_written_is_the_state_of_its_step(tmp_path: Path) -> None:
    found = variables()
    record: dict[str, Any] = {"history": []}
    store = CheckpointStore(tmp_path, keep=9)
    checkpointer = Checkpointer(store, found, lambda: record, every=Every(steps=2))
    wanted = {}
    for step in range(1, 7):
        change(found)
        record["history"].append(step)
        if checkpointer.watch(step, is_best=step == 4):
            wanted[step] = values_of(found)
            change(found)
            assert checkpointer.writer.wait() is None
    assert store.steps() == sorted(wanted) == [2, 4, 6]
    for step, arrays in wanted.items():
        checkpoint = store.newest_sound(before=step + 1)
        assert checkpoint is not None
        assert (checkpoint.step, checkpoint.is_best) == (step, step == 4)
        assert checkpoint.state.values == {"history": list(range(1, step + 1))}
        assert_same(checkpoint.state.tensors, arrays)


def test_the_training_does_not_wait_for_the_disk_and_the_newest_state_is_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"W": theano.shared(np.zeros(3), "W")}
    checkpointer = checkpointer_for(tmp_path, found, every=Every(steps=2))
    slow = Slow(checkpointer.store, monkeypatch)
    begun = []
    for step in range(1, 8):
        change(found)
        begun.append(checkpointer.watch(step))
    assert begun == [False, True, False, False, False, False, False]
    slow.allowed.set()
    checkpointer.writer.wait()
    change(found)
    assert checkpointer.watch(9)  # at no multiple of 2: the one that is late
    change(found)
    assert not checkpointer.watch(11)
    assert checkpointer.close() is None
    assert checkpointer.store.steps() == [2, 9]
    newest = checkpointer.store.newest_sound()
    assert newest is not None
    assert newest.state.tensors["W"].tolist() == [8, 8, 8]


def test_saving_now_waits_for_what_is_written_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpointer = checkpointer_for(tmp_path, variables())
    slow = Slow(checkpointer.store, monkeypatch)
    checkpointer.watch(1)
    threading.Timer(0.05, slow.allowed.set).start()
    assert checkpointer.save_now(2) is None
    assert checkpointer.store.steps() == [1, 2]


def test_a_full_disk_warns_once_keeps_what_is_sound_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    checkpointer = checkpointer_for(tmp_path, {"W": theano.shared(np.zeros(1000), "W")})
    assert checkpointer.save_now(1) is None
    with full_disk():
        for step in (2, 3):
            assert checkpointer.watch(step)
            checkpointer.writer.wait()
        error = checkpointer.close()
    assert isinstance(error, OSError)
    assert checkpointer.saved_step == 1
    assert len(caplog.messages) == 1
    assert f"the checkpoint cannot be written ({error.strerror})" in caplog.text
    assert [path.name for path in checkpointer.store.folder.iterdir()] == ["step-000000001"]
    assert checkpointer.watch(4)
    assert checkpointer.close() is None
    assert "there is room again" in caplog.messages[-1]
    assert checkpointer.store.steps() == [1, 4]
    assert checkpointer.saved_step == 4


def test_a_deleted_run_is_not_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    run.mkdir()
    checkpointer = checkpointer_for(run, variables())
    assert checkpointer.save_now(1) is None
    shutil.rmtree(run / "checkpoints")
    assert checkpointer.save_now(2) is None
    shutil.rmtree(run)
    assert isinstance(checkpointer.save_now(3), FileNotFoundError)
    assert "No such file or directory" in caplog.text
    assert not run.exists()


def test_a_mistake_of_the_program_is_raised_in_the_training(tmp_path: Path) -> None:
    writer = Writer()

    def fail() -> None:
        raise TypeError("no array")

    writer.submit(Job("x", fail))
    with pytest.raises(TypeError, match="no array"):
        writer.wait()
    writer.submit(Job("x", (tmp_path / "x").touch))
    assert writer.close() is None
    assert (tmp_path / "x").exists()


def test_a_writer_that_has_nothing_to_do_keeps_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.checkpoints.writer.IDLE", 0.01)
    others = set(threading.enumerate())
    writer = Writer()
    for name in ("one", "two"):
        writer.submit(Job(name, (tmp_path / name).touch))
        assert writer.wait() is None
        assert (tmp_path / name).exists()
        for thread in set(threading.enumerate()) - others:
            thread.join(60)
            assert not thread.is_alive()


def test_of_jobs_that_wait_the_newest_of_a_name_is_done_and_none_overtakes_another(tmp_path: Path) -> None:
    writer, done, allowed = Writer(), list[str](), threading.Event()

    def job(name: str, text: str) -> Job:
        return Job(name, lambda: done.append(text), again=name != "checkpoint")

    writer.submit(Job("first", lambda: done.append(str(allowed.wait(30)))))
    for text in (
        "best 1",
        "mean 1",
        "best 2",
        "mean 2",
        "checkpoint 2",
        "best 3",
        "mean 3",
        "best 4",
        "mean 4",
    ):
        writer.submit(job(text.split()[0], text))
    assert writer.is_busy("best")
    assert not writer.is_busy("none")
    allowed.set()
    assert writer.wait() is None
    assert done == ["True", "best 2", "mean 2", "checkpoint 2", "best 4", "mean 4"]


def test_no_checkpoint_stands_beside_best_weights_older_than_it_says(tmp_path: Path) -> None:
    """Where the best weights could not be written, they are written first when there is room again."""
    writer, folder = Writer(), tmp_path / "checkpoints"
    network: Any = type("Network", (), {"weights": lambda self: {"W": np.full(1000, len(best), "f4")}})()
    best: list[int] = []
    keeper = WeightKeeper(network, folder, writer)
    checkpointer = Checkpointer(
        CheckpointStore(folder, keep=9), {}, dict, every=Every(steps=1), writer=writer
    )
    best.append(1)
    keeper.keep_best()
    assert checkpointer.save_now(1) is None
    best.append(2)
    with full_disk():
        keeper.keep_best()
        assert checkpointer.save_now(2) is not None
    assert checkpointer.save_now(3) is None
    assert checkpointer.store.steps() == [1, 3]
    for step in (1, 3):
        checkpoint = checkpointer.store.newest_sound(before=step + 1)
        assert checkpoint is not None
        weights = load_file(checkpoint.files["best.safetensors"])["W"]
        assert (weights == {1: 1, 3: 2}[step]).all()
    best.append(3)
    with full_disk():
        keeper.save_last()
        assert isinstance(writer.wait(), OSError)
    assert writer.close() is None
    assert (load_file(folder / "last.safetensors")["W"] == 3).all()


def test_weights_are_written_at_once_where_there_is_no_writer(tmp_path: Path) -> None:
    network: Any = type("Network", (), {"weights": lambda self: {"W": np.ones((2, 3), "f4")}})()
    keeper = WeightKeeper(network, tmp_path / "checkpoints")
    keeper.keep_best()
    keeper.save_last()
    assert {path.name for path in keeper.folder.iterdir()} == {"best.safetensors", "last.safetensors"}
    with full_disk(10), pytest.raises(OSError, match="File too large"):
        keeper.save_last()
    assert load_file(keeper.folder / "last.safetensors")["W"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert {path.name for path in keeper.folder.iterdir()} == {"best.safetensors", "last.safetensors"}


def test_everything_is_flushed_to_disk_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        events.append(f"{path.name} -> {Path(target).name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    CheckpointStore(tmp_path / "checkpoints").save(State({"W": np.zeros(3)}, {}), 7)
    part = ".step-000000007.part"
    assert events == [
        "tensors.safetensors",
        "state.json",
        part,
        f"{part} -> step-000000007",
        "checkpoints",
    ]
