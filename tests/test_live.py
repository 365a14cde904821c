"""The jobs of a multirun on the screen: what is read from their folders, and what is shown of it."""

from __future__ import annotations

import itertools
import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.folder_lock import RunLock
from trainer.sweep import live
from trainer.sweep.live_jobs import SILENCE, LiveSweep
from trainer.sweep.live_table import job_line, sweep_line, table

ROOT = Path(__file__).parent.parent
CONFIG = "training: {{epochs: {epochs}, monitor: {monitor}, mode: {mode}, seed: 0}}\n"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Job:
    """A job's folder, written as a run writes it."""

    def __init__(self, sweep: Path, name: str, *overrides: str, epochs: int = 4, mode: str = "min") -> None:
        self.folder = sweep / name
        (self.folder / ".hydra").mkdir(parents=True, exist_ok=True)
        monitor = "validation/loss" if mode == "min" else "validation/accuracy"
        config = CONFIG.format(epochs=epochs, monitor=monitor, mode=mode)
        (self.folder / ".hydra" / "config.yaml").write_text(config)
        self.monitor = monitor
        self.begin(*overrides)

    def begin(self, *overrides: str) -> None:
        path = self.folder / ".hydra" / "overrides.yaml"
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text("".join(f"- {each}\n" for each in overrides) or "[]\n")
        os.utime(path, ns=(before + 10**9, before + 10**9))

    def record(self, epoch: int, value: float | None, **more: Any) -> None:
        line = {"epoch": epoch, "step": 10 * epoch, "seconds": 2.0 * epoch, self.monitor: value, **more}
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def end(self, status: str, value: float | None = None, **more: Any) -> None:
        path = self.folder / "summary.json"
        before = path.stat().st_mtime_ns if path.exists() else 0
        best = {} if value is None else {self.monitor: value}
        path.write_text(json.dumps({"status": status, "best": best, "train_seconds": 2.0, **more}))
        os.utime(path, ns=(before + 10**9, before + 10**9))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(tmp_path: Path, clock: Clock) -> Callable[..., LiveSweep]:
    def make(given: tuple[str, ...] = (), total: int | None = None) -> LiveSweep:
        return LiveSweep(tmp_path, given, lambda: total, clock)

    return make


def test_a_job_is_followed_from_its_first_file_to_its_summary(
    tmp_path: Path, watch: Callable[..., LiveSweep], clock: Clock
) -> None:
    sweep = watch(given=("training.epochs=4", "optimizer.learning_rate=0.1,0.2"), total=2)
    assert sweep.poll() == []
    assert sweep.jobs == []
    job = Job(tmp_path, "1_optimizer.learning_rate=0.1", "optimizer.learning_rate=0.1", "training.epochs=4")
    sweep.poll()
    (seen,) = sweep.jobs
    assert (seen.number, seen.state, seen.epoch, seen.epochs) == (1, "running", 0, 4)
    assert seen.overrides == ("optimizer.learning_rate=0.1",)
    for epoch, value in ((1, 0.5), (2, 0.7), (3, None)):
        job.record(epoch, value)
    with (job.folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "validation/lo')
    sweep.poll()
    assert (seen.epoch, seen.best, seen.done) == (3, 0.5, 0.75)
    clock.now += 0.5
    assert seen.left(clock.now) == pytest.approx(1.5)
    assert sweep.left(clock.now) == pytest.approx(0.5 / 0.75 * 1.25)
    job.end("completed", 0.25, compile_seconds=1.0)
    assert sweep.poll() == [seen]
    assert (seen.state, seen.best, seen.took, seen.done) == ("completed", 0.25, 3.0, 1.0)
    assert sweep.poll() == []


def test_a_run_that_goes_back_is_read_again(tmp_path: Path, watch: Callable[..., LiveSweep]) -> None:
    sweep = watch()
    job = Job(tmp_path, "0", mode="max")
    for epoch, value in ((1, 0.5), (2, 0.75)):
        job.record(epoch, value)
    sweep.poll()
    assert sweep.jobs[0].best == 0.75
    (job.folder / "metrics.jsonl").write_text("")
    job.record(1, 0.5)
    sweep.poll()
    assert (sweep.jobs[0].epoch, sweep.jobs[0].best) == (1, 0.5)


def test_without_a_validation_part_the_training_loss_counts(
    tmp_path: Path, watch: Callable[..., LiveSweep]
) -> None:
    sweep = watch()
    job = Job(tmp_path, "0")
    (job.folder / "metrics.jsonl").write_text('{"epoch": 1, "seconds": 1.0, "train/loss": 0.125}\n')
    sweep.poll()
    assert (sweep.jobs[0].monitor, sweep.jobs[0].best) == ("train/loss", 0.125)


def test_what_an_earlier_life_of_the_sweep_left_is_not_taken_for_this_ones(
    tmp_path: Path, watch: Callable[..., LiveSweep]
) -> None:
    finished, failed = Job(tmp_path, "0"), Job(tmp_path, "1")
    finished.end("completed", 0.5)
    failed.end("failed", error="RunError: the disk was full")
    sweep = watch(total=3)
    assert sweep.poll() == []
    assert [job.state for job in sweep.jobs] == ["completed", "waiting"]
    assert sweep.left(1000.0) is None
    failed.begin()
    finished.begin()
    assert sweep.poll() == []
    assert [job.state for job in sweep.jobs] == ["completed", "running"]
    failed.end("completed", 0.25)
    assert [job.number for job in sweep.poll()] == [1]
    assert sweep.jobs[1].best == 0.25
    (finished.folder / "summary.json").unlink()  # it is given more epochs
    finished.begin()
    sweep.poll()
    assert [job.state for job in sweep.jobs] == ["running", "completed"]


def test_a_member_of_a_population_runs_on_after_each_slice(
    tmp_path: Path, watch: Callable[..., LiveSweep]
) -> None:
    sweep = watch(total=1)
    job = Job(tmp_path, "0")
    job.end("interrupted", 0.5, epochs=2)
    assert [each.state for each in sweep.poll()] == ["interrupted"]
    assert "paused" in table(sweep, 80, 10)[2].plain
    assert "failed" not in sweep_line(sweep, 0.0)
    job.begin()
    sweep.poll()
    assert sweep.jobs[0].state == "running"
    job.end("completed", 0.25, epochs=4)
    assert [each.state for each in sweep.poll()] == ["completed"]


def test_a_job_whose_process_is_gone_is_told_from_one_that_is_slow(
    tmp_path: Path, watch: Callable[..., LiveSweep], clock: Clock
) -> None:
    sweep = watch()
    job = Job(tmp_path, "0")
    lock = RunLock(job.folder)
    sweep.poll()
    clock.now += SILENCE + 1
    sweep.poll()
    assert sweep.jobs[0].state == "running"
    lock.release()
    clock.now += SILENCE + 1
    sweep.poll()
    assert sweep.jobs[0].state == "killed"
    assert "1 killed" in sweep_line(sweep, clock.now)
    job.record(1, 0.5)
    sweep.poll()
    assert sweep.jobs[0].state == "running"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"training": 3}', "\0", "a: [" * 100])
def test_a_damaged_folder_stops_nothing(
    tmp_path: Path, watch: Callable[..., LiveSweep], content: str
) -> None:
    sweep = watch(total=1)
    job = Job(tmp_path, "0_x")
    for name in (".hydra/config.yaml", ".hydra/overrides.yaml", "metrics.jsonl", "summary.json"):
        (job.folder / name).write_text(content + "\n")
    sweep.poll()
    assert table(sweep, 80, 10)
    job.end("completed")
    assert [each.state for each in sweep.poll()] == ["completed"]


def test_folders_without_a_number_and_deeper_ones_are_jobs_too(
    tmp_path: Path, watch: Callable[..., LiveSweep]
) -> None:
    sweep = watch()
    Job(tmp_path, "adam")
    sweep.poll()
    Job(tmp_path / "more", "3_sgd")
    sweep.poll()
    assert [(job.number, job.folder.name) for job in sweep.jobs] == [(0, "adam"), (3, "3_sgd")]


def test_a_line_tells_how_a_job_ended(tmp_path: Path, watch: Callable[..., LiveSweep]) -> None:
    sweep = watch(total=20)
    Job(tmp_path, "3", "optimizer.learning_rate=0.1", "training.seed=2").end("completed", 0.08125)
    sweep.poll()
    assert job_line(sweep.jobs[0], 20) == (
        "job 3 of 20: completed, validation loss 0.0813, 2.0 s: optimizer.learning_rate=0.1 training.seed=2"
    )
    Job(tmp_path, "4", "optimizer=sgd").end("failed", train_seconds=0, error="RunError: no room\nmore")
    sweep.poll()
    assert job_line(sweep.jobs[1], None) == "job 4: failed, RunError: no room: optimizer=sgd"


@pytest.fixture
def forty(tmp_path: Path, watch: Callable[..., LiveSweep], clock: Clock) -> LiveSweep:
    """Return a sweep of 40: 0 to 29 done (7 is the best), 30 failed, 31 to 33 running."""
    sweep = watch(total=40)
    for number in range(34):
        job = Job(tmp_path, str(number), f"optimizer.learning_rate={number}", f"training.seed={number % 2}")
        if number < 30:
            job.end("completed", 0.5 if number == 7 else 1.0 + number)
        elif number == 30:
            job.end("failed", error="UsageError: " + "x" * 200)
        else:
            job.record(1, 2.0)
        clock.now += 1
        sweep.poll()
    return sweep


def test_the_table_fits_its_terminal(forty: LiveSweep) -> None:
    sizes = itertools.product([1, 20, 40, 60, 79, 120, 200], [1, 2, 3, 8, 23, 60], [True, False])
    for width, height, unicode in sizes:
        lines = table(forty, width, height, unicode)
        assert 1 <= len(lines) <= height
        assert max(line.cell_len for line in lines) <= width
        assert unicode or all(line.plain.isascii() for line in lines)


def test_a_long_sweep_shows_the_running_the_best_and_the_last_jobs_and_counts_the_rest(
    forty: LiveSweep,
) -> None:
    lines = [line.plain for line in table(forty, 120, 14)]
    assert lines[0].startswith("30 of 40 jobs done, 3 running, 1 failed, ")
    shown = {int(line.split()[0]): line for line in lines[2:]}
    assert len(shown) == 12
    assert {31, 32, 33, 7, 0, 1, 30, 29, 28} <= set(shown)
    assert "0.5000 *" in shown[7]
    assert "running" in shown[31]
    assert "1/4" in shown[31]
    assert "UsageError: xxx" in shown[30]
    assert list(shown) == sorted(shown)


def test_keys_are_shortened_only_where_they_stay_apart(
    tmp_path: Path, watch: Callable[..., LiveSweep]
) -> None:
    sweep = watch()
    Job(tmp_path, "0", "optimizer.momentum=0.9", "wrapper.momentum=0.5")
    Job(tmp_path, "1", "optimizer.learning_rate=0.1", "+x.seed=1")
    sweep.poll()
    _, _, first, second = (line.plain for line in table(sweep, 120, 10))
    assert "optimizer.momentum=0.9, wrapper.momentum=0.5" in first
    assert "learning_rate=0.1, seed=1" in second


class Screen:
    """A terminal of a process that a test starts."""

    def __init__(self, code: str, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "", "LINES": ""},
        )
        os.close(slave)
        self.text = ""

    def until(self, words: str, seconds: float = 30.0) -> None:
        """Read until some words have come."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            self._read(0.1)

    def end(self) -> int:
        """Read the rest and return the exit status."""
        while self._read(10.0):
            pass
        os.close(self._master)
        return self.process.wait(10)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            content = os.read(self._master, 65536)
        except OSError:  # how Linux says that the other side is gone
            return False
        self.text += content.decode()
        return bool(content)


def test_the_end_is_prepared_once_there_are_jobs_to_learn_from(
    tmp_path: Path, watch: Callable[..., LiveSweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(live, "prepare", lambda: asked.append(len(list(tmp_path.iterdir()))))
    display = live.Display(watch())
    for number in range(10):
        Job(tmp_path, f"{number}_a", f"training.seed={number}").end("completed", 0.5)
        display._show()
    assert asked == [8]


DISPLAY = """
import os, subprocess, sys
from pathlib import Path
from trainer.sweep import live
from trainer.sweep.live_jobs import LiveSweep
live._display = live.Display(LiveSweep(Path(sys.argv[1]), total=lambda: 2))
live._display.start()
print("said by python")
subprocess.run(["echo", "said by a child"])
os.write(2, b"said by C\\n")
try:
    input()
    {way}
finally:
    live.end()
print("after", sys.stdout.isatty())
"""


@pytest.mark.parametrize(
    ("way", "status"), [("pass", 0), ("raise SystemExit(3)", 3), ("raise KeyboardInterrupt", 130)]
)
def test_what_is_printed_stands_above_the_table_and_the_terminal_is_given_back(
    tmp_path: Path, way: str, status: int
) -> None:
    terminal = Screen(DISPLAY.format(way=way), str(tmp_path))
    terminal.until("0 of 2 jobs done")
    Job(tmp_path, "0", "optimizer=sgd").record(1, 0.5)
    for words in ("said by python", "said by a child", "said by C", "optimizer=sgd"):
        terminal.until(words)
    os.write(terminal._master, b"\n")
    ended = terminal.end()
    assert ended == status or (status == 130 and ended == -2)
    assert "\x1b[?25l" not in terminal.text  # a cursor that is never hidden needs no showing
    assert "\x1b[?1049h" not in terminal.text
    last = terminal.text.rpartition("\x1b[J")[2]
    assert "0 of 2 jobs done, 1 running" in last
    assert ("after True" in last) is (status == 0)


def test_a_terminal_that_is_closed_does_not_end_the_sweep(tmp_path: Path) -> None:
    marker = tmp_path / "went_on"
    code = DISPLAY.replace("    input()\n", "").format(
        way="import signal, time; signal.signal(signal.SIGHUP, signal.SIG_IGN); time.sleep(3); "
        f"Path({str(marker)!r}).touch()"
    )
    terminal = Screen(code, str(tmp_path))
    terminal.until("0 of 2 jobs done")
    Job(tmp_path, "0", "optimizer=sgd").record(1, 0.5)
    os.close(terminal._master)
    terminal.process.wait(30)
    assert marker.exists()


def test_a_multirun_without_a_terminal_prints_a_line_a_job_and_its_jobs_nothing(
    train: Callable[..., Any], uncompiled: None, tmp_path: Path
) -> None:
    done = train(
        "-m",
        "training.epochs=1",
        "training.steps_per_epoch=1",
        "model.hidden=[2]",
        "training.seed=1,2",
        "hydra.sweep.dir=sweep",
        "~hydra.callbacks.leaderboard",
    )
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["job 0 of 2: completed", "job 1 of 2: completed"]
    assert [line.rpartition(": ")[2] for line in lines] == ["training.seed=1", "training.seed=2"]
    assert done.err == ""
    (log,) = (tmp_path / "sweep").glob("1*/train.log")
    assert "mlp on digits, adam" in log.read_text()
