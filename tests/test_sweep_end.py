"""How a sweep ends: a failing job stops no other, a signal stops all of them, and the exit status says so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import spawn
from tests.resuming import SMALL, Train, during
from tests.test_sweep_resume import DIRECTORY, fail, in_job, jobs, summary
from trainer.errors import UsageError
from trainer.folder_lock import holder, is_held
from trainer.sweep.course import Course
from trainer.sweep.ending import ending
from trainer.sweep.stopping import Stopped, is_marked, mark

RATES = "optimizer.learning_rate=-1,0.1,0.01"


def receive(number: signal.Signals) -> None:
    """Send this process a signal, and wait for what it does."""
    os.kill(os.getpid(), number)
    time.sleep(30)


@pytest.mark.usefixtures("uncompiled")
class TestFailures:
    def test_the_others_go_on_and_all_that_failed_are_listed_with_their_first_line(
        self, train: Train, tmp_path: Path
    ) -> None:
        with in_job(0, 8, fail):
            finished = train("-m", *SMALL, RATES, DIRECTORY)
        assert finished.status == 1
        first, second, third = jobs(tmp_path / "sweep")
        assert [summary(job)["status"] for job in (first, second, third)] == ["failed", "failed", "completed"]
        lines = finished.err.splitlines()
        assert lines[0] == "Error: 2 of 3 jobs are not done:"
        assert lines[1].startswith(f"  {first.name} failed: optimizer.learning_rate=-1 is out of range: give")
        assert lines[2].startswith(f"  {second.name} failed: RuntimeError: the cable was pulled")
        assert lines[3] == "trainer --multirun sweep.resume=sweep runs them"
        assert "Traceback" in (second / "train.log").read_text()
        assert "Traceback" not in finished.err + finished.out

    def test_where_all_that_failed_are_mistakes_the_status_is_2(self, train: Train, tmp_path: Path) -> None:
        finished = train("-m", *SMALL, "optimizer.learning_rate=-1,0.1", "training.epochs=1", DIRECTORY)
        assert finished.status == 2
        failed = summary(jobs(tmp_path / "sweep")[0])
        assert failed["exit_status"] == 2
        assert failed["error"].startswith("optimizer.learning_rate=-1 is out of range")

    def test_a_job_that_diverges_is_told_and_not_run_again(self, train: Train, tmp_path: Path) -> None:
        rates = ("optimizer=sgd", "optimizer.learning_rate=1e30,0.1", "model.activation=linear")
        first = train("-m", *SMALL, *rates, DIRECTORY)
        job = jobs(tmp_path / "sweep")[0]
        assert (first.status, summary(job)["status"]) == (1, "diverged")
        assert f"{job.name} diverged: " in first.err
        before = summary(job)
        again = train("-m", "sweep.resume=sweep")
        assert (again.status, summary(job)) == (1, before)
        assert f"{job.name} diverged: " in again.err
        for told in (first.err, again.err):
            assert told.splitlines()[2:] == [
                "no resumption runs it again, since with the same values it would end the same"
            ]

    def test_what_is_run_again_is_told_apart_from_what_diverged(self, train: Train, tmp_path: Path) -> None:
        rates = ("optimizer=sgd", "optimizer.learning_rate=1e30,-1", "model.activation=linear")
        finished = train("-m", *SMALL, *rates, DIRECTORY)
        assert finished.err.splitlines()[3:] == [
            "trainer --multirun sweep.resume=sweep runs them, "
            "but for 1 that would end the same with the same values"
        ]

    def test_a_mistake_that_no_job_can_begin_with_is_told_as_ever(self, train: Train, tmp_path: Path) -> None:
        finished = train("-m", "optimizer=adam,adm", DIRECTORY)
        assert finished.status == 2
        assert finished.err == finished.err.splitlines()[0] + "\n"
        assert "optimizer=adm is not known: did you mean adam?" in finished.err

    def test_a_job_that_is_missing_counts(self, train: Train, tmp_path: Path) -> None:
        assert train("-m", *SMALL, "training.epochs=1", "training.seed=1,2", DIRECTORY).status == 0
        assert ending(tmp_path / "sweep") == ("", 0)
        for path in sorted(jobs(tmp_path / "sweep")[1].rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        jobs_left = tmp_path / "sweep" / "1_training.seed=2"
        jobs_left.rmdir()
        told, status = ending(tmp_path / "sweep")
        assert told.splitlines()[:2] == ["1 of 2 jobs is not done:", "  1 not begun"]
        assert status == 1


@pytest.mark.usefixtures("uncompiled")
class TestSignals:
    @pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_the_running_job_is_saved_the_others_are_not_begun_and_a_line_says_how_to_go_on(
        self, train: Train, tmp_path: Path, number: signal.Signals, status: int
    ) -> None:
        before = signal.getsignal(number)
        with in_job(0, 7, lambda: os.kill(os.getpid(), number)):
            stopped = train("-m", *SMALL, "training.seed=1,2", DIRECTORY)
        assert stopped.status == status
        assert stopped.err == "Stopped: trainer --multirun sweep.resume=sweep goes on with it\n"
        (job,) = jobs(tmp_path / "sweep")
        assert (summary(job)["status"], summary(job)["steps"]) == ("interrupted", 7)
        assert signal.getsignal(number) == before
        assert train("-m", "sweep.resume=sweep").status == 0
        assert [summary(job)["steps"] for job in jobs(tmp_path / "sweep")] == [15, 15]

    def test_a_signal_between_two_jobs_stops_the_sweep_as_well(
        self, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from trainer.sweep import begun

        note = begun.forget_refusal
        calls: list[Path] = []

        def forget(folder: Path) -> None:
            calls.append(folder)
            if len(calls) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            note(folder)

        monkeypatch.setattr(begun, "forget_refusal", forget)
        stopped = train("-m", *SMALL, "training.epochs=1", "training.seed=1,2", DIRECTORY)
        assert stopped.status == 143
        assert "Stopped: trainer --multirun sweep.resume=sweep" in stopped.err
        assert [job.name for job in jobs(tmp_path / "sweep") if (job / "summary.json").exists()] == [
            "0_training.seed=1"
        ]


class TestCourse:
    def test_a_folder_is_let_go_of_and_signals_are_what_they_were(self, tmp_path: Path) -> None:
        before = signal.getsignal(signal.SIGTERM)
        course, other = Course(), Course()
        course.begin(tmp_path)
        with pytest.raises(UsageError, match="is being swept by process"):
            other.begin(tmp_path)
        course.end()
        assert signal.getsignal(signal.SIGTERM) is before
        other.begin(tmp_path)
        other.end()

    def test_a_signal_marks_the_folder_for_the_jobs_of_other_processes(self, tmp_path: Path) -> None:
        course = Course()
        course.begin(tmp_path)
        try:
            with pytest.raises(Stopped) as stopped:
                receive(signal.SIGTERM)
        finally:
            course.end()
        assert stopped.value.status == 143
        assert is_marked(tmp_path)
        course = Course()
        course.begin(tmp_path)
        course.end()
        assert not is_marked(tmp_path)

    def test_jobs_at_work_elsewhere_save_their_state_before_it_ends(self, tmp_path: Path) -> None:
        """The other process is one that holds the lock of a job's folder until the mark is there."""
        job = tmp_path / "0"
        (job / ".hydra").mkdir(parents=True)
        lines = (
            "import sys, time, pathlib",
            "from trainer.folder_lock import RunLock",
            "lock = RunLock(pathlib.Path(sys.argv[1]))",
            "print('locked', flush=True)",
            "while not pathlib.Path(sys.argv[2]).exists(): time.sleep(0.02)",
            "time.sleep(0.5); pathlib.Path(sys.argv[1], 'saved').touch()",
        )
        course = Course()
        course.begin(tmp_path)
        command = [sys.executable, "-c", "\n".join(lines), str(job), str(tmp_path / ".stopped")]
        paths = str(Path(__file__).parent.parent)
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths})
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"locked\n"
            with pytest.raises(Stopped):
                receive(signal.SIGINT)
            assert (job / "saved").exists()
        finally:
            course.end()
            worker.communicate(timeout=30)


@pytest.mark.usefixtures("uncompiled")
class TestElsewhere:
    """Jobs whose launcher is another process: here, this process without a multirun of its own."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("trainer.commands.job.present_course", lambda: None)

    def test_a_mark_stops_the_job_at_work_and_the_next_is_not_begun(
        self, train: Train, tmp_path: Path
    ) -> None:
        def stop() -> None:
            mark(tmp_path / "sweep")
            time.sleep(1)

        with during(7, stop):
            finished = train("-m", *SMALL, "training.seed=1,2", DIRECTORY)
        assert finished.status == 1
        (job,) = [path for path in (tmp_path / "sweep").iterdir() if path.is_dir()]
        assert (job.name, summary(job)["status"]) == ("0_training.seed=1", "interrupted")
        assert train("-m", "sweep.resume=sweep").status == 0
        assert [summary(job)["steps"] for job in jobs(tmp_path / "sweep")] == [15, 15]

    def test_a_signal_for_one_job_does_not_stop_the_others(self, train: Train, tmp_path: Path) -> None:
        """Slurm warns a job that it preempts; its sweep goes on."""
        with in_job(0, 7, lambda: os.kill(os.getpid(), signal.SIGUSR1)):
            finished = train("-m", *SMALL, "training.seed=1,2", DIRECTORY)
        assert finished.status == 1
        statuses = [summary(job)["status"] for job in jobs(tmp_path / "sweep")]
        assert statuses == ["interrupted", "completed"]
        assert "0_training.seed=1 interrupted" in finished.err


LONG = (*SMALL[:2], "training.epochs=100000", "logger.curves=null", "logger.pictures=null")


def stop_at_work(
    launcher: Sequence[str], stop: Callable[[subprocess.Popen[str]], None], folder: Path
) -> tuple[int, str]:
    """Stop a long sweep of six jobs when two have an epoch behind them; return status and errors."""
    seeds = "training.seed=1,2,3,4,5,6"
    process = spawn("-m", *LONG, seeds, *launcher, DIRECTORY, cwd=folder, start_new_session=True)
    try:
        end = time.monotonic() + 240
        while sum(path.stat().st_size > 0 for path in folder.glob("sweep/*/metrics.jsonl")) < 2:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        stop(process)
        err = process.communicate(timeout=240)[1]
        return process.returncode, err
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def as_a_terminal_does(process: subprocess.Popen[str]) -> None:
    """Ctrl-C reaches the launcher and its workers alike."""
    os.killpg(process.pid, signal.SIGINT)


JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
LOCAL = ("hydra/launcher=submitit", "hydra.launcher.cluster=local", "hydra.launcher.array_parallelism=2")


@pytest.mark.parametrize(
    ("package", "launcher", "stop", "status"),
    [
        ("joblib", JOBLIB, subprocess.Popen.terminate, 143),
        ("joblib", JOBLIB, as_a_terminal_does, 130),
        ("submitit", LOCAL, as_a_terminal_does, 130),
    ],
)
def test_jobs_in_other_processes_save_their_state_and_no_other_begins(
    tmp_path: Path,
    package: str,
    launcher: Sequence[str],
    stop: Callable[[subprocess.Popen[str]], None],
    status: int,
) -> None:
    pytest.importorskip(package)
    ended, err = stop_at_work(launcher, stop, tmp_path)
    assert ended == status, err
    assert "Stopped: trainer --multirun sweep.resume=sweep goes on with it" in err
    assert "Traceback" not in err
    assert [summary(job)["status"] for job in jobs(tmp_path / "sweep")] == ["interrupted"] * 2


def test_a_second_ctrl_c_does_not_wait_for_jobs_that_do_not_end(tmp_path: Path) -> None:
    pytest.importorskip("joblib")

    def twice(process: subprocess.Popen[str]) -> None:
        for job in jobs(tmp_path / "sweep"):
            worker = holder(job)
            assert worker is not None
            os.kill(worker.pid, signal.SIGSTOP)
        as_a_terminal_does(process)
        time.sleep(1)
        assert process.poll() is None
        as_a_terminal_does(process)

    status, err = stop_at_work(JOBLIB, twice, tmp_path)
    assert status == 130, err
    assert [is_held(job) for job in jobs(tmp_path / "sweep")] == [False, False]


@pytest.mark.parametrize(
    "typed",
    ["schedule=3", "model=[1]", "logger=true", "training=3.5", "+schedule@schedule.decay=2", "objective=1,2"],
)
def test_a_number_is_no_groups_choice(train: Train, typed: str) -> None:
    finished = train(typed)
    assert finished.status == 2
    assert f"{typed.lstrip('+')} names no choice: " in finished.err.replace("+", "")
    assert len(finished.err.splitlines()) == 1


def test_flags_may_stand_behind_overrides(train: Train, tmp_path: Path) -> None:
    finished = train("training.epochs=5", "--cfg", "job", "training.seed=1")
    assert finished.status == 0, finished.err
    assert "epochs: 5" in finished.out
