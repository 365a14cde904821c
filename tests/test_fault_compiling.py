"""The compiler fails, or the compile cache is locked, damaged or not writable: that is told, or mended."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import theano
from theano import tensor

from tests.conftest import ROOT, Finished
from tests.faults import obeying_permissions, read_only
from trainer import runtime
from trainer.commands.messages import explain
from trainer.errors import UsageError
from trainer.runtime.choices import Choices
from trainer.runtime.damage import is_whole, remove_damaged
from trainer.runtime.flags import UserFlags

Train = Callable[..., Finished]

compilelock: Any = importlib.import_module("theano.gof.compilelock")

# Compiles as the real one does, but not what Theano wants compiled.
FAILING = """#!/bin/sh
case "$*" in
*mod.cpp*) echo "mod.cpp: In function 'init':" >&2; echo "mod.cpp:7:1: fatal error: {told}" >&2; exit 1;;
esac
exec {compiler} "$@"
"""


def failing_compiler(folder: Path, told: str) -> Path:
    path = folder / "failing-g++"
    path.write_text(FAILING.format(told=told, compiler=runtime.prepare().compiler.path))
    path.chmod(0o755)
    return path


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        env={**os.environ, "THEANO_FLAGS": "", "PYTHONPATH": str(ROOT), **environment},
    )


def test_the_first_error_of_a_compiler_that_fails_is_told(tmp_path: Path) -> None:
    compiler = failing_compiler(tmp_path, "No space left on device")
    x = tensor.vector()
    with (
        theano.configparser.change_flags(cxx=str(compiler)),
        pytest.raises(Exception, match="Compilation failed") as failed,
    ):
        # A number that no other test has, so that there is no module of it yet.
        theano.function([x], x * float(f"0.7{time.time_ns()}"), mode=theano.Mode("c", "fast_run"))
    assert explain(failed.value).startswith(
        "the C++ compiler failed (mod.cpp:7:1: fatal error: No space left on device): "
    )
    assert "device.compiler=..." in explain(failed.value)
    assert compilelock.get_lock.n_lock == 0, "others wait for the cache in vain"


def test_a_compiler_that_fails_ends_the_command_with_status_1(tmp_path: Path) -> None:
    compiler = failing_compiler(tmp_path, "it is broken")
    done = subprocess.run(
        [sys.executable, "-m", "trainer", f"device.compiler={compiler}", "hydra.run.dir=run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1
    assert told[0].startswith(
        "Error: the C++ compiler failed (mod.cpp:7:1: fatal error: it is broken): see whether there is room"
    )
    assert "Traceback" not in done.stderr


PRODUCT = """
    from trainer import runtime
    import logging, sys
    logging.basicConfig(stream=sys.stdout)
    runtime.prepare()
    import theano
    from theano import tensor
    x = tensor.vector()
    print(theano.function([x], tensor.exp(x) + x)([0, 1]))
"""


def test_damaged_modules_of_the_cache_are_compiled_anew(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    first = run(PRODUCT, **environment)
    assert first.returncode == 0, first.stderr
    modules = sorted(tmp_path.rglob("*.so"))
    assert {"lazylinker_ext.so", "cutils_ext.so"} <= {path.name for path in modules}
    for number, path in enumerate(modules):
        content = path.read_bytes()
        damaged = (
            b"",
            content[:1000],
            content[: len(content) // 2],
            content[:-8],
            content[:-4000] + bytes(4000),
        )
        path.write_bytes(damaged[number % len(damaged)])
        os.utime(path, (0, 0))
    for number, path in enumerate(sorted(tmp_path.rglob("key.pkl"))):
        path.write_bytes((b"", b"\x80\x04 no pickle", bytes(100))[number % 3])
    second = run(PRODUCT, **environment)
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert f"has damaged modules, {len(modules)} in number: they are compiled anew" in second.stdout
    assert run(PRODUCT, **environment).stdout == first.stdout


def test_a_library_is_whole_only_where_its_end_is_there(tmp_path: Path) -> None:
    found = next(runtime.prepare().compile_cache.glob("*/lazylinker_ext/*.so"))
    content = found.read_bytes()
    copy = tmp_path / "module.so"
    assert is_whole(found)
    for length in range(0, len(content), 1009):
        copy.write_bytes(content[:length])
        assert not is_whole(copy), length
        copy.write_bytes(content[:length] + bytes(len(content) - length))
        assert not is_whole(copy), length


def test_a_module_in_the_making_is_left_alone(tmp_path: Path) -> None:
    making = tmp_path / "compiledir" / "tmp123" / "m.so"
    young = tmp_path / "compiledir" / "lazylinker_ext" / "lazylinker_ext.so"
    for path in (making, young):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\x7fELF\x02\x01")
    assert remove_damaged(tmp_path) == []
    os.utime(young, (0, 0))
    assert remove_damaged(tmp_path) == [young]
    assert making.exists()


def test_a_damaged_module_that_cannot_be_removed_is_named_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "probes" / "blas.so"
    path.parent.mkdir()
    path.write_bytes(b"")
    os.utime(path, (0, 0))
    with (
        read_only(path.parent),
        pytest.raises(UsageError, match=r"blas\.so cannot be deleted.*compile_cache"),
    ):
        remove_damaged(tmp_path)


def test_a_module_that_cannot_be_loaded_is_named_with_the_cure() -> None:
    error = ImportError("/home/me/cache/compiledir/tmpab12/m0a1.so: undefined symbol: scipy_sgemm_")
    assert explain(error) == (
        "the compile cache has a module that cannot be loaded (/home/me/cache/compiledir/tmpab12/m0a1.so: "
        "undefined symbol: scipy_sgemm_): delete /home/me/cache/compiledir/tmpab12, and it is compiled anew"
    )


def test_a_cache_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    with (
        read_only(closed),
        obeying_permissions(),
        pytest.raises(
            UsageError, match=r"closed cannot be written \(Permission denied\).*device\.compile_cache"
        ),
    ):
        Choices(compile_cache=str(closed)).find_cache(UserFlags())


@pytest.fixture
def lock_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that Theano's lock is taken in, instead of the cache's own."""
    names = ("n_lock", "lock_dir", "unlocker", "start_time")
    before = {
        name: getattr(compilelock.get_lock, name) for name in names if hasattr(compilelock.get_lock, name)
    }
    yield tmp_path / "lock_dir"
    for name, value in before.items():
        setattr(compilelock.get_lock, name, value)


def locked_by(process: int, folder: Path) -> None:
    folder.mkdir()
    (folder / "lock").write_text(f"{process}_0123456789_{compilelock.hostname}\n")


def take(folder: Path, seconds: float) -> None:
    compilelock.get_lock(lock_dir=str(folder), min_wait=0, max_wait=0.05, timeout=seconds)
    compilelock.release_lock()


def test_waiting_for_the_cache_is_told_once_with_the_process_and_the_lock(
    lock_folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    locked_by(os.getppid(), lock_folder)
    take(lock_folder, seconds=0.5)
    assert caplog.messages == [
        f"the compile cache is in use by process {os.getppid()}, which compiles too: waiting for it",
        f"where no such process is at work, delete {lock_folder}",
    ]
    assert not lock_folder.exists()
    assert capfd.readouterr().err == ""


def test_the_lock_of_a_dead_process_is_taken_over(
    lock_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    locked_by(dead.pid, lock_folder)
    take(lock_folder, seconds=60)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", f"the compile cache was locked by process {dead.pid}, which is dead: taken over")
    ]
