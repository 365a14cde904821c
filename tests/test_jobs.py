"""A job's folder, whole or not, as everything that looks at a sweep reads it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.run_folders import losses, write_run
from trainer.checked_yaml import read_plain
from trainer.errors import UsageError
from trainer.folder_lock import RunLock
from trainer.sweep.jobs import Job, read_jobs

FAILED = "2026-11-22 10:00:00,000 ERROR   trainer.cli: the disk is full\nTraceback (most recent call last):\n"
KILLED = "2026-11-22 10:00:00,000 INFO    trainer.run: compiled in 0.1 s for cpu\n"


def test_the_status_is_what_the_folder_tells(tmp_path: Path) -> None:
    records = losses(0.5)
    for status in ("completed", "stopped_early", "diverged", "interrupted", "failed", "pruned"):
        assert Job.read(write_run(tmp_path / status, (), records, status)).status == status
    assert Job.read(write_run(tmp_path / "killed", (), records[:2], None, KILLED)).status == "interrupted"
    assert Job.read(write_run(tmp_path / "error", (), (), None, KILLED + FAILED)).status == "failed"
    assert (
        Job.read(write_run(tmp_path / "resumed", (), records, None, FAILED + KILLED)).status == "interrupted"
    )
    assert Job.read(tmp_path / "nowhere").status == "missing"
    with RunLock(write_run(tmp_path / "works", (), records[:2], None)):
        running = Job.read(tmp_path / "works")
    assert (running.status, running.error, running.epochs) == ("running", "", 2)
    with RunLock(tmp_path / "interrupted"):
        assert Job.read(tmp_path / "interrupted").status == "running"


def test_a_job_that_is_not_done_says_why(tmp_path: Path) -> None:
    assert Job.read(write_run(tmp_path / "a", (), (), None, FAILED)).error == "the disk is full"
    noted = write_run(tmp_path / "b", (), (), "failed", FAILED, error="first line\nsecond")
    assert Job.read(noted).error == "first line"
    assert Job.read(write_run(tmp_path / "c", (), (), None, KILLED)).error == "stopped before its end"
    assert Job.read(write_run(tmp_path / "d", (), losses(1.0))).error == ""


def test_the_best_record_of_a_running_job_is_that_of_its_history(tmp_path: Path) -> None:
    records = losses(0.5, epochs=3)
    records += [{"epoch": 4, "validation/loss": None}, {"epoch": 5, "validation/loss": 0.9}]
    job = Job.read(write_run(tmp_path / "min", (), records, None))
    assert (job.best["epoch"], job.best["validation/loss"]) == (3, 0.5)
    greatest = ["training.monitor=validation/accuracy", "training.mode=max"]
    unusual = '{"epoch": 6, "validation/loss": NaN}\n{"epoch": 7, "validation/loss": -Infinity}\n'
    with (tmp_path / "min" / "metrics.jsonl").open("a") as file:
        file.write(unusual)
    assert [record["validation/loss"] for record in Job.read(job.folder).history[-2:]] == [None, None]
    upward = [
        {"epoch": epoch, "validation/accuracy": value} for epoch, value in enumerate((0.1, 0.9, 0.3), 1)
    ]
    assert Job.read(write_run(tmp_path / "max", greatest, upward, None)).best["epoch"] == 2


def test_jobs_stand_in_the_order_of_their_numbers_whatever_lies_beside_them(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("hydra: {}")
    for name in ("10_a=1", "9_a=2", "2", "other"):
        write_run(tmp_path / name)
    (tmp_path / "11_never").mkdir()
    for name in (".submitit", "notes", "0_file"):
        (tmp_path / name).mkdir() if name != "0_file" else (tmp_path / name).write_text("")
    write_run(tmp_path / "sub" / "1")
    jobs = read_jobs(tmp_path)
    assert [job.name for job in jobs] == ["1", "2", "9_a=2", "10_a=1", "11_never", "other"]
    assert [job.status for job in jobs][4] == "missing"


def test_the_command_runs_the_same_again(tmp_path: Path) -> None:
    given = ["+experiment=mine", "model.hidden=[64, 32]", "data.file='a b.csv'", "sweep.resume=there"]
    folder = write_run(tmp_path / "3_x")
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(given))
    assert shlex.split(Job.read(folder).command) == ["trainer", *given[:3]]
    sources = [{"path": "/x", "provider": "main"}, {"path": "/my conf", "provider": "command-line"}]
    source = "\n".join(f"    - path: {each['path']}\n      provider: {each['provider']}" for each in sources)
    (folder / ".hydra" / "hydra.yaml").write_text(f"hydra:\n  runtime:\n    config_sources:\n{source}\n")
    assert shlex.split(Job.read(folder).command)[:3] == ["trainer", "--config-dir", "/my conf"]


def test_a_key_has_its_composed_value_and_a_group_its_choice(tmp_path: Path) -> None:
    given = [
        "optimizer=sgd",
        "optimizer.learning_rate=1e-1",
        "++model.hidden=[2,3]",
        "schedule@schedule.rho=linear",
    ]
    job = Job.read(write_run(tmp_path / "0", given))
    assert [
        job.value(key) for key in ("optimizer", "optimizer.learning_rate", "training.seed", "nothing")
    ] == [
        "sgd",
        0.1,
        1,
        None,
    ]
    assert (job.value("model.hidden"), job.value("schedule@schedule.rho")) == ("[2,3]", "linear")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[" * 100_000, b"{", b"a: &x [1]\nb: *x", b"null", b"[1]"]
)
def test_damaged_files_stop_nothing(content: bytes, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "5_x", ["a.b=1"], losses(1.0))
    whole = (folder / "metrics.jsonl").read_bytes()
    for name in (
        "summary.json",
        "train.log",
        ".hydra/config.yaml",
        ".hydra/overrides.yaml",
        ".hydra/hydra.yaml",
    ):
        (folder / name).write_bytes(content)
    (folder / "metrics.jsonl").write_bytes(whole + content + b"\n" + whole + b'{"epoch": 6, "valid')
    job = Job.read(folder)
    assert (job.number, len(job.history), job.best["epoch"]) == (5, 10, 5)
    assert (job.status, job.error, job.test) == ("interrupted", "stopped before its end", {})
    assert shlex.split(job.command)[0] == "trainer"
    assert job.value("a.b") is None


@pytest.mark.parametrize("content", ["[" * 300_000, "- " * 300_000, "? " * 100_000, "{a: " * 1000])
def test_yaml_that_nests_without_end_is_refused_before_it_is_built(content: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match="nests deeper than 50 levels"):
        read_plain(path)


def test_yaml_cannot_name_what_is_to_be_called(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"a: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]")
    with pytest.raises(UsageError, match="is damaged"):
        read_plain(path)
    assert not (tmp_path / "made").exists()
