"""`trainer-steer` on a running process: what it is told holds from the next step on, and nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import spawn
from trainer.commands import steer

Steer = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run in a process of its own, which has ended its first epoch."""
    process = spawn(
        "model.hidden=[16]",
        "training.epochs=1000000",
        "schedule=constant",
        "logger.curves=null",
        "hydra.run.dir=run",
        cwd=tmp_path,
    )
    folder = tmp_path / "run"
    wait_until(lambda: records(folder) or process.poll() is not None, seconds=300)
    try:
        assert process.poll() is None, process.communicate()
        yield folder
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def said(run: Path, capsys: pytest.CaptureFixture[str]) -> Steer:
    """Steer the run; return the status and what was printed."""

    def call(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = steer.main([str(run), *arguments])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def records(folder: Path) -> list[dict[str, float]]:
    """Return the whole lines of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_a_running_job_is_steered_from_another_process(run: Path, said: Steer) -> None:
    status, out = said()
    assert status == 0
    assert "training, epoch" in out
    assert "schedule" in next(line for line in out.splitlines() if line.startswith("learning_rate"))

    status, out = said("learning_rate=3e-4")
    assert (status, "→ 0.0003 from step" in out) == (0, True)
    first = int(out.split("from step ")[1].split()[0].replace(",", ""))
    wait_until(lambda: records(run)[-1]["step"] > first)
    later = [record for record in records(run) if record["step"] >= first]
    before = [record for record in records(run) if record["step"] < first]
    assert {record["hyperparameter/learning_rate"] for record in later} == {0.0003}
    assert {record["hyperparameter/learning_rate"] for record in before} == {0.002}

    status, out = said("--release", "learning_rate", "beta1=0.5", "checkpoint")
    assert status == 0, out
    saved = run / out.split("checkpoint ")[-1].strip()
    assert saved.is_dir()
    wait_until(lambda: records(run)[-1]["hyperparameter/beta1"] == 0.5)
    assert records(run)[-1]["hyperparameter/learning_rate"] == 0.002

    for wanted, told in (
        (("learning_rat=1",), "did you mean learning_rate?"),
        (("learning_rate=-1",), "out of range: give a number of at least 0"),
        (("beta2=1",), "beta2=1.0 is out of range: give a number of at least 0 and below 1"),
        (("learning_rate=fast",), "learning_rate=fast is not a number"),
        (("learning_rate=nan",), "learning_rate=nan is out of range"),
        (("--release", "epsilon"), "there is nothing to release"),
        (("continue",), "the run is not paused"),
        (("halt",), "halt is neither NAME=VALUE nor a command"),
    ):
        status, out = said(*wanted)
        assert (status, told in out, out.count("\n")) == (2, True, 1), out

    assert said("pause")[0] == 0
    assert "paused, epoch" in said()[1]
    lines = len(records(run))
    time.sleep(0.3)
    assert len(records(run)) == lines
    assert "paused already" in said("pause")[1]
    assert said("epsilon=1e-6")[0] == 0
    status, out = said("continue")
    assert (status, "goes on after step" in out) == (0, True)
    wait_until(lambda: len(records(run)) > lines)
    assert records(run)[-1]["hyperparameter/epsilon"] == 1e-6

    status, out = said("stop")
    assert (status, "stops after step" in out) == (0, True)
    wait_until(lambda: (run / "summary.json").exists())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["status"] == "stopped_early"
    assert [change["name"] for change in summary["steering"]] == [
        "learning_rate",
        "beta1",
        "learning_rate",
        "epsilon",
    ]
    wait_until(lambda: "is not running: it stopped early; trainer resume=" in said("learning_rate=1")[1])
