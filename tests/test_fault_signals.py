"""Signals at every phase of a run: the state is saved, the status tells which, and the run goes on later."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Finished
from tests.faults import trainer_command, write_at_once
from tests.left_by import differences, left_by
from tests.resuming import SMALL, during
from trainer import run
from trainer.checkpoints import CheckpointStore
from trainer.data import Data, Part, digits
from trainer.folder_lock import RunLock

Train = Callable[..., Finished]
STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 128 + signal.SIGUSR1}
every_signal = pytest.mark.parametrize("name", STATUS)


def send(name: str) -> None:
    os.kill(os.getpid(), getattr(signal, name))


def sound_step(folder: Path) -> int:
    checkpoint = CheckpointStore(folder / "checkpoints").newest_sound()
    assert checkpoint is not None
    assert not checkpoint.flaws
    return checkpoint.step


class Signalling(Part):
    """A part of the data whose second batch is accompanied by a signal, once for each name that is given."""

    names: list[str] = []  # noqa: RUF012 (shared with the tests on purpose)

    def batches(self, *arguments: Any, **options: Any) -> Any:
        batches = super().batches(*arguments, **options)
        epoch = batches.epoch

        def watched(number: int, start: int = 0) -> Iterator[Any]:
            for place, batch in enumerate(epoch(number, start)):
                if place == 1 and self.names:
                    send(self.names.pop())
                yield batch

        batches.epoch = watched  # type: ignore[method-assign]
        return batches


def data(part: str) -> Data:
    """Return the digits, one part of them signalling."""
    found = digits()
    plain = getattr(found, part)
    parts = {name: getattr(found, name) for name in ("train", "validation", "test")}
    parts[part] = Signalling(plain.inputs, plain.targets)
    return Data(**parts, input_shape=found.input_shape, outputs=found.outputs, classes=found.classes)


def signalling(part: str) -> tuple[str, ...]:
    return (
        *SMALL,
        f"data._target_=tests.test_fault_signals.of_{part}",
        "training.evaluation_batch_size=50",
        "training.checkpoints.every_epochs=null",
    )


def of_validation() -> Data:
    """Return the digits, the validation part signalling."""
    return data("validation")


def of_test() -> Data:
    """Return the digits, the test part signalling."""
    return data("test")


@every_signal
def test_a_signal_ends_the_run_after_its_step_with_the_state_saved(train: Train, name: str) -> None:
    with during(8, lambda: send(name)):
        finished = train(*SMALL)
    assert finished.status == STATUS[name]
    assert finished.summary["status"] == "interrupted"
    assert finished.summary["steps"] == 8
    assert sound_step(finished.folder) == 8
    assert f"stopped by {name} after step 8" in finished.out


@every_signal
def test_a_signal_while_the_run_is_compiled_ends_it_at_once(
    train: Train, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ended: list[bool] = []

    def compile_for_long(*arguments: Any) -> Any:
        send(name)
        for _ in range(1000):
            time.sleep(0.01)
        ended.append(True)

    with monkeypatch.context() as patch:
        patch.setattr(run, "compile_graph", compile_for_long)
        finished = train(*SMALL)
    assert finished.status == STATUS[name]
    assert ended == []
    assert f"stopped by {name} before the first step" in finished.out
    assert train("resume=run").status == 0


@every_signal
def test_a_signal_during_an_evaluation_ends_it_and_resuming_evaluates_anew(train: Train, name: str) -> None:
    undisturbed = train(*signalling("validation"), folder="undisturbed")
    Signalling.names = [name]
    finished = train(*signalling("validation"))
    assert finished.status == STATUS[name]
    assert (finished.summary["epochs"], finished.summary["steps"]) == (0, 5)
    assert sound_step(finished.folder) == 5
    assert finished.records == []
    assert train("resume=run", "allowed_targets=[tests]").status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


def test_an_epoch_whose_end_was_not_saved_is_recorded_once(train: Train) -> None:
    undisturbed = train(*signalling("validation"), folder="undisturbed")
    Signalling.names = ["SIGTERM"]
    finished = train(*signalling("validation"))
    shutil.copytree(finished.folder / "checkpoints", "saved")
    assert train("resume=run", "allowed_targets=[tests]").status == 0
    # As if the machine had failed before another checkpoint was written.
    shutil.rmtree(finished.folder / "checkpoints")
    shutil.copytree("saved", finished.folder / "checkpoints")
    (finished.folder / "summary.json").unlink()
    assert train("resume=run", "allowed_targets=[tests]").status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


def test_a_signal_during_the_last_evaluation_leaves_that_alone_to_be_done(train: Train) -> None:
    undisturbed = train(*signalling("test"), folder="undisturbed")
    Signalling.names = ["SIGTERM"]
    finished = train(*signalling("test"))
    assert finished.status == STATUS["SIGTERM"]
    assert finished.summary["status"] == "interrupted"
    assert finished.summary["test"] == {}
    assert train("resume=run", "allowed_targets=[tests]").status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


@every_signal
def test_a_signal_while_a_checkpoint_is_written_leaves_sound_ones(
    train: Train, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write = CheckpointStore.write

    def signalled(store: CheckpointStore, state: Any, values: str, step: int, is_best: bool) -> Path:
        if step == 5:
            send(name)
        return write(store, state, values, step, is_best)

    monkeypatch.setattr(CheckpointStore, "write", signalled)
    finished = train(*SMALL)
    assert finished.status == STATUS[name]
    assert sound_step(finished.folder) == finished.summary["steps"] >= 5


def test_a_second_interrupt_leaves_at_once_with_the_last_checkpoint_sound(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_at_once(monkeypatch)

    def twice() -> None:
        send("SIGINT")
        send("SIGINT")

    with during(8, twice):
        finished = train(*SMALL)
    assert finished.status == 130
    assert not (finished.folder / "summary.json").exists()
    assert sound_step(finished.folder) == 5
    undisturbed = train(*SMALL, folder="undisturbed")
    assert train("resume=run").status == 0
    assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []


def test_a_folder_in_use_is_refused_and_left_as_it_is(train: Train) -> None:
    first = train(*SMALL)
    files = [path for path in first.folder.rglob("*") if path.is_file() and path.name != ".lock"]
    before = {path: path.read_bytes() for path in files}
    with RunLock(first.folder):
        second = train("resume=run", "training.epochs=9")
    assert second.status == 2
    assert f"is in use by process {os.getpid()}" in second.err
    assert {path: path.read_bytes() for path in before} == before


class TestBeginOrGoOn:
    def test_one_command_begins_a_run_and_goes_on_with_it(self, train: Train) -> None:
        undisturbed = train(*SMALL, folder="undisturbed")
        command = (*SMALL, "hydra.run.dir=run", "resume=auto")
        with during(8, lambda: send("SIGUSR1")):
            assert train(*command).status == STATUS["SIGUSR1"]
        finished = train(*command)
        assert finished.status == 0
        assert "goes on after step 8" in finished.out
        assert differences(left_by(undisturbed.folder), left_by(finished.folder)) == []
        again = train(*command)
        assert again.status == 0
        assert "has trained 3 epochs" in again.out

    def test_what_is_said_otherwise_than_before_changes_the_run(self, train: Train) -> None:
        assert train(*SMALL, "hydra.run.dir=run", "resume=auto").status == 0
        finished = train(*SMALL[:-3], "training.epochs=4", "hydra.run.dir=run", "resume=auto")
        assert finished.status == 0
        assert finished.summary["epochs"] == 4

    def test_a_persons_own_function_goes_on_without_being_allowed_once_more(
        self, train: Train, tmp_path: Path
    ) -> None:
        (tmp_path / "steady_rules.py").write_text("from trainer.updates import sgd as steady\n")
        command = (
            *SMALL,
            "optimizer=sgd",
            "optimizer._target_=steady_rules.steady",
            "hydra.run.dir=run",
            "resume=auto",
        )
        with during(8, lambda: send("SIGUSR1")):
            train(*command)
        assert train(*command).status == 0

    def test_the_folder_must_be_named(self, train: Train) -> None:
        for folder in ((), ("hydra.run.dir=",), ("hydra.run.dir=runs/${now:%H}",)):
            finished = train("resume=auto", *folder)
            assert finished.status == 2
            assert "resume=auto needs the run's folder, the same each time" in finished.err

    def test_a_sweep_is_refused(self, train: Train) -> None:
        finished = train("resume=auto", "hydra.run.dir=run", "-m")
        assert finished.status == 2
        assert "takes KEY=VALUE beside it, not -m" in finished.err


def batch_script(folder: Path) -> Path:
    """Take the batch script from the document, and give it a short run."""
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    script = re.search(r"```bash\n(#!/bin/bash\n.*?)```", text, re.DOTALL)
    assert script is not None
    path = folder / "train.sbatch"
    path.write_text(script[1])
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_documented_batch_script_requeues_a_run_that_was_warned_and_goes_on_with_it(
    tmp_path: Path,
) -> None:
    programs = trainer_command(tmp_path / "bin")
    (programs / "scontrol").write_text('#!/bin/sh\necho "$@" >> requeued\n')
    (programs / "scontrol").chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "17"}
    script = batch_script(tmp_path)
    folder, arguments = tmp_path / "runs" / "17", [*SMALL[:-3], "logger.curves=null", "logger.pictures=null"]

    def start(*more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["bash", script, *arguments, *more], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
        )

    # More epochs than it can train before the warning, and fewer when it goes on.
    process = start("training.epochs=1000000")
    end = time.monotonic() + 120
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == STATUS["SIGUSR1"]
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"
    step = sound_step(folder)
    process = start(f"training.epochs={step // 5 + 2}")
    assert process.wait(120) == 0
    assert (tmp_path / "requeued").read_text() == "requeue 17\n"
    assert sound_step(folder) == 5 * (step // 5 + 2)
