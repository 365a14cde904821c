"""One process at a time works on a run's folder, and a dead one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer.errors import RunError, UsageError
from trainer.folder_lock import RunLock, claim, holder, is_held

ROOT = Path(__file__).parent.parent

HOLD = """
import sys
from pathlib import Path
from trainer.folder_lock import RunLock, claim
lock = {call}(Path(sys.argv[1]))
{after}
print(lock.folder, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path, call: str = "RunLock", after: str = "") -> Iterator[subprocess.Popen[str]]:
    """Let a process lock the folder; it says which one, and holds it until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD.format(call=call, after=after), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        yield process
        process.kill()


def locked_folder(process: subprocess.Popen[str]) -> Path:
    assert process.stdout is not None
    return Path(process.stdout.readline().strip())


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        locked_folder(process)
        with pytest.raises(UsageError) as refused:
            RunLock(tmp_path)
        told = str(refused.value)
        assert str(tmp_path) in told
        assert f"process {process.pid} on {socket.gethostname()}" in told
        assert "hydra.run.dir" in told
        held_by = holder(tmp_path)
        assert held_by is not None
        assert held_by.pid == process.pid


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        locked_folder(process)
        assert is_held(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_held(tmp_path)
        RunLock(tmp_path).release()


def test_asking_takes_nothing_and_needs_no_lock_file(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert not list(tmp_path.iterdir())
    with RunLock(tmp_path) as lock:
        assert is_held(tmp_path)
        assert is_held(tmp_path)
        with pytest.raises(UsageError, match=f"process {os.getpid()} "):
            RunLock(tmp_path)
    assert not is_held(tmp_path)
    lock.release()
    with RunLock(tmp_path):
        assert is_held(tmp_path)


def test_a_moment_of_asking_does_not_refuse_a_run(tmp_path: Path) -> None:
    RunLock(tmp_path).release()
    asking = "import fcntl, time; fcntl.flock(file, fcntl.LOCK_SH); print(flush=True); time.sleep(0.1)"
    code = f"import sys; file = open(sys.argv[1]); {asking}"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        RunLock(tmp_path).release()


CHILDREN = {
    "forked": """
import os, time
if os.fork() == 0:
    print(os.getpid(), flush=True)
time.sleep(60)
""",
    "started": """
import subprocess
print(subprocess.Popen(["sleep", "60"]).pid, flush=True)
""",
}


@pytest.mark.parametrize("kind", CHILDREN)
def test_children_do_not_go_on_holding_it(tmp_path: Path, kind: str) -> None:
    """A child that outlives a killed run would otherwise keep the folder locked."""
    with another_process(tmp_path, after=CHILDREN[kind]) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not is_held(tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_ends_leaves_the_lock_to_its_parent(tmp_path: Path) -> None:
    after = "import os\nif os.fork() == 0: lock.release(); os._exit(0)\nos.wait()"
    with another_process(tmp_path, after=after) as process:
        locked_folder(process)
        assert is_held(tmp_path)


def test_a_lock_file_that_was_deleted_is_made_anew(tmp_path: Path) -> None:
    with RunLock(tmp_path):
        pass
    (tmp_path / ".lock").unlink()
    with RunLock(tmp_path):
        assert is_held(tmp_path)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_ordinary_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    run.mkdir()
    outside.write_text("untouched")
    path = run / ".lock"
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(RunError, match=r"\.lock cannot be locked"):
        RunLock(run)
    assert outside.read_text() == "untouched"


def test_what_is_written_in_the_lock_is_never_trusted(tmp_path: Path) -> None:
    for content in (b"", b"\xff", b"[", b"[]", b"{}", b'{"pid": "x", "host": 1}', b"[" * 4000):
        with RunLock(tmp_path):
            (tmp_path / ".lock").write_bytes(content)
            with pytest.raises(UsageError, match="is in use by another process"):
                RunLock(tmp_path)


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone.*cannot be locked \(No such file.*hydra\.run\.dir"):
        RunLock(tmp_path / "gone")


def test_a_file_system_without_locks_is_said_and_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    RunLock(tmp_path).release()
    assert "knows no locks" in caplog.text
    assert str(tmp_path) in caplog.text


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    wanted = tmp_path / "2026-11-22" / "10-00-00"
    with (
        another_process(wanted, call="claim") as first,
        another_process(wanted, call="claim") as second,
        another_process(wanted, call="claim") as third,
    ):
        folders = {locked_folder(process) for process in (first, second, third)}
        assert {folder.name for folder in folders} == {"10-00-00", "10-00-00-2", "10-00-00-3"}
        assert all(is_held(folder) for folder in folders)


def test_the_folder_of_a_finished_run_is_not_claimed(tmp_path: Path) -> None:
    claim(tmp_path / "run").release()
    (tmp_path / "run" / "summary.json").write_text("{}")
    with claim(tmp_path / "run") as lock:
        assert lock.folder == tmp_path / "run-2"


def test_a_folder_that_cannot_be_claimed_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be made \(.*hydra\.run\.dir"):
        claim(tmp_path / "file" / "run")
