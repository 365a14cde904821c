"""What a device needs of its machine: libraries by old names, and a place of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT
from trainer.commands.overrides import rewritten
from trainer.errors import UsageError

# Stands for NVRTC 12, and answers with the architecture that it was asked for.
NVRTC = """
#include <stdio.h>
extern "C" int nvrtcCompileProgram(void*, int, const char* const* options) {
    return printf("%s %s\\n", options[0], options[1]), fflush(stdout), 0;
}
extern "C" int nvrtcVersion(int* major, int*) { return *major = 12, 0; }
"""


def python(program: str, folder: Path, **environment: str) -> str:
    """Run a program in a process of its own, and return what it printed."""
    paths = os.pathsep.join([str(ROOT), str(folder)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems look for libraries in other ways")
@pytest.mark.parametrize(("cut", "whole"), [("12", "120"), ("10", "100"), ("90", "90"), ("75", "75")])
def test_nvrtc_of_a_wheel_answers_to_the_name_that_is_asked_for_and_hears_the_whole_architecture(
    cut: str, whole: str, tmp_path: Path
) -> None:
    wheel = tmp_path / "nvidia" / "cuda_nvrtc" / "lib"
    wheel.mkdir(parents=True)
    (tmp_path / "nvrtc.cpp").write_text(NVRTC)
    soname = "libnvrtc.so.12"
    command: list[str | Path] = [
        "g++",
        "-shared",
        "-fPIC",
        f"-Wl,-soname,{soname}",
        tmp_path / "nvrtc.cpp",
        "-o",
        wheel / soname,
    ]
    subprocess.run(command, check=True)
    said = python(
        f"""
        import ctypes
        from pathlib import Path
        from trainer.runtime import device_libraries
        from trainer.runtime.compiler import Compiler

        device_libraries.provide("cuda", Compiler("g++", ""), Path("cache"))
        library = ctypes.CDLL("libnvrtc.so")
        major = ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(major), None)
        options = (ctypes.c_char_p * 2)(b"-arch", b"compute_{cut}")
        status = library.nvrtcCompileProgram(None, 2, options)
        print(major.value, status)
        """,
        tmp_path,
    )
    assert said.splitlines() == [f"-arch compute_{whole}", "12 0"]


def test_each_process_takes_a_device_of_its_own_while_there_are_free_ones(tmp_path: Path) -> None:
    package = tmp_path / "pygpu"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "gpuarray.py").write_text(
        "count_devices = lambda kind, platform: 2 if kind == 'cuda' else 0\n"
    )
    (package / "gpuarray.py").open("a").write("count_platforms = lambda kind: 0\n")
    program = """
        import subprocess, sys
        from pathlib import Path
        from trainer.runtime import devices

        print(devices.free_one("cuda", Path("cache")), flush=True)
        if len(sys.argv) < 4:
            subprocess.run([sys.executable, "-c", Path("program.py").read_text(), *sys.argv[1:], "more"])
    """
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    # Each waits for the one that it starts; three are more than there are devices.
    assert python(program, tmp_path).split() == ["cuda0", "cuda1", "cuda0", "cuda0"]
    assert python(program, tmp_path).split()[0] == "cuda0"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("gpu", "cuda"),
        ("gpu1", "cuda1"),
        ("cuda:1", "cuda1"),
        ("opencl1", "opencl1:0"),
        ("opencl:1", "opencl0:1"),
    ],
)
def test_a_name_that_no_device_has_is_refused_with_the_one_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"^device={name} is no device: .*did you mean {meant}\?"):
        rewritten([f"device={name}"])


def test_a_device_is_chosen_with_its_number() -> None:
    assert rewritten(["device=cuda1"]) == ["device=cuda", "device.name=cuda1"]
    assert rewritten(["device=opencl1:2"]) == ["device=opencl", "device.name=opencl1:2"]
    assert rewritten(["device=opencl"]) == ["device=opencl"]
