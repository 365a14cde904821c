"""The compiler fails or hangs, or the compile cache is damaged or not writable: that is told, or mended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import theano
from theano import tensor

from tests.conftest import ROOT, Finished
from tests.faults import obeying_permissions, read_only
from trainer import runtime
from trainer.commands.messages import explain
from trainer.errors import UsageError
from trainer.runtime.choices import Choices
from trainer.runtime.flags import UserFlags
from trainer.runtime.store import Store

Train = Callable[..., Finished]

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
    assert not Path(theano.config.compiledir, "lock_dir").exists(), "others wait for the cache in vain"


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
    assert len(modules) > 3
    for number, path in enumerate(modules):
        content = path.read_bytes()
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        damaged = (
            b"",
            content[:1000],
            content[:-8],
            content[:-4000] + bytes(4000),
            content[:middle] + changed + content[middle + 1 :],
        )
        path.write_bytes(damaged[number % len(damaged)])
    second = run(PRODUCT, **environment)
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert "has damaged modules: they are compiled anew" in second.stdout
    assert run(PRODUCT, **environment).stdout == first.stdout


def test_a_module_in_the_making_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path / "modules")
    with store.building() as folder:
        (folder / "made.so").write_bytes(b"\x7fELF half of it")
        other = Store(store.folder)
        other.tidy()
        assert other.find("made") is None
        assert (folder / "made.so").exists()
    assert not folder.exists()


def test_a_damaged_module_that_cannot_be_removed_is_named_with_the_cure(tmp_path: Path) -> None:
    store = Store(tmp_path / "modules")
    with store.building() as folder:
        (folder / "made.so").write_bytes(b"whole")
        path = store.keep("name", folder / "made.so")
    path.write_bytes(b"whale")
    with (
        read_only(path.parent),
        pytest.raises(UsageError, match=r"name\.\w+\.so cannot be deleted.*compile_cache"),
    ):
        store.find("name")


def test_a_module_that_cannot_be_loaded_is_named_with_the_cure() -> None:
    error = ImportError("/home/me/cache/compiledir/modules/0a1.f2.so: undefined symbol: scipy_sgemm_")
    assert explain(error) == (
        "the compile cache has a module that cannot be loaded (/home/me/cache/compiledir/modules/0a1.f2.so: "
        "undefined symbol: scipy_sgemm_): delete /home/me/cache/compiledir/modules/0a1.f2.so, and it is "
        "compiled anew"
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


# As the real one, but where HANGING is set, each compilation of a module begins and does not end.
HANGING = """#!/bin/sh
case "$HANGING:$*" in
:*) ;;
*mod.cpp*) echo $$ >> "$HANGING"; exec sleep 100;;
esac
exec {compiler} "$@"
"""


@pytest.mark.parametrize("fate", ["hangs", "is killed"])
def test_a_process_that_stops_while_it_compiles_keeps_nobody_waiting(tmp_path: Path, fate: str) -> None:
    compiler = tmp_path / "g++"
    compiler.write_text(HANGING.format(compiler=runtime.prepare().compiler.path))
    compiler.chmod(0o755)
    program = PRODUCT.replace("prepare()", f"prepare(compiler={str(compiler)!r})")
    mark = tmp_path / "begun"
    environment = {**os.environ, "THEANO_FLAGS": "", "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path)}
    stopped = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], env={**environment, "HANGING": str(mark)}
    )
    try:
        end = time.monotonic() + 60
        while not mark.exists():
            assert stopped.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        if fate == "is killed":
            stopped.kill()
        done = run(program, XDG_CACHE_HOME=str(tmp_path))
    finally:
        stopped.kill()
        stopped.wait()
        for process in mark.read_text().split():
            os.kill(int(process), signal.SIGKILL)
    assert (done.returncode, done.stdout) == (0, "[1.        3.7182817]\n"), done.stderr
