"""What a device needs of its machine: libraries by old names, a place of its own, pygpu in .venv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from trainer.commands.overrides import rewritten

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


def test_a_device_is_chosen_with_its_number() -> None:
    assert rewritten(["device=cuda1"]) == ["device=cuda", "device.name=cuda1"]
    assert rewritten(["device=opencl1:2"]) == ["device=opencl", "device.name=opencl1:2"]
    assert rewritten(["device=opencl"]) == ["device=opencl"]


class Checkout:
    """A copy of the scripts, with a .venv, beside a folder that stands for the system's packages."""

    def __init__(self, folder: Path) -> None:
        self.root, self.system = folder / "a checkout", folder / "packages"
        (self.root / "scripts").mkdir(parents=True)
        for name in ("install-gpu", "environment"):
            shutil.copy(ROOT / "scripts" / name, self.root / "scripts")
        venv.create(self.root / ".venv", with_pip=False, symlinks=True)
        (self.system / "pygpu").mkdir(parents=True)
        (self.system / "pygpu" / "__init__.py").touch()
        (self.system / "pygpu-0.7.6.egg-info").mkdir()

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TRAINER_SYSTEM_PACKAGES": str(self.system)}
        command: list[str | Path] = [self.root / "scripts" / "install-gpu", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    @property
    def links(self) -> list[str]:
        """What was linked into .venv."""
        return sorted(path.name for path in (self.root / ".venv").rglob("pygpu*") if path.is_symlink())


@pytest.fixture
def checkout(tmp_path: Path) -> Any:
    return Checkout(tmp_path)


def test_pygpu_is_linked_into_the_environment_and_taken_out_again(checkout: Any) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (checkout.system / "pygpu" / f"gpuarray{suffix}").touch()
    for _ in ("once", "again"):
        done = checkout("--link")
        assert done.returncode == 0, done.stderr
        assert "To undo: scripts/install-gpu --undo" in done.stdout
    assert checkout.links == ["pygpu", "pygpu-0.7.6.egg-info"]
    assert checkout("--undo").returncode == 0
    assert checkout.links == []
    assert (checkout.system / "pygpu" / "__init__.py").exists()


def test_a_pygpu_for_another_python_is_refused_with_the_cure(checkout: Any) -> None:
    (checkout.system / "pygpu" / "gpuarray.cpython-39-x86_64-linux-gnu.so").touch()
    done = checkout("--link")
    assert done.returncode == 1
    assert f"another Python than .venv's Python {sys.version.split()[0]}" in done.stderr
    assert "TRAINER_PYTHON" in done.stderr
    assert checkout.links == []


LIBRARIES = [file for folder in ("", "*/") for file in Path("/usr/lib").glob(f"{folder}libgpuarray.so")]
_MODULE = """
#include <Python.h>
#include <numpy/arrayobject.h>
static struct PyModuleDef definition = {{PyModuleDef_HEAD_INIT, "{name}", NULL, -1}};
PyMODINIT_FUNC PyInit_{name}(void) {{ import_array(); return PyModule_Create(&definition); }}
"""


@pytest.mark.skipif(not LIBRARIES, reason="libgpuarray-dev is not installed")
def test_pygpu_is_built_for_another_python_and_taken_out_again(checkout: Any) -> None:
    python = checkout.root / ".venv" / "bin" / "python"
    asked = [python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    site = Path(subprocess.run(asked, capture_output=True, text=True).stdout.strip())
    (site / "others.pth").write_text(str(Path(np.__file__).parent.parent))
    names = ("gpuarray", "blas", "_elemwise", "collectives")
    for name in names:
        (checkout.system / "pygpu" / f"{name}.c").write_text(_MODULE.format(name=name))
    (checkout.system / "pygpu" / "gpuarray.h").touch()
    (checkout.system / "pygpu" / "__init__.py").write_text(f"from . import {', '.join(names)}")
    for _ in ("once", "again"):
        done = checkout("--build")
        assert done.returncode == 0, done.stderr
    assert "To undo: scripts/install-gpu --undo" in done.stdout
    found = subprocess.run(
        [python, "-c", "import pygpu; print(pygpu.__file__)"], capture_output=True, text=True
    )
    assert found.stdout.strip() == str(site / "pygpu" / "__init__.py")
    assert checkout("--undo").returncode == 0
    assert [path.name for path in site.iterdir() if "pygpu" in path.name] == []


def test_a_package_without_its_c_is_not_built_and_says_what_is_missing(checkout: Any) -> None:
    done = checkout("--build")
    assert done.returncode == 1
    assert "without its C (gpuarray.c)" in done.stderr
    assert "TRAINER_PYTHON" in done.stderr


def test_a_pygpu_that_was_installed_otherwise_is_left_as_it_is(checkout: Any) -> None:
    (site,) = (checkout.root / ".venv" / "lib").glob("python*/site-packages")
    (site / "pygpu").mkdir()
    for option in ("--build", "--link", "--undo"):
        assert checkout(option).returncode == 0
    assert (site / "pygpu").is_dir()


def test_a_wrong_option_of_the_installer_is_refused(checkout: Any) -> None:
    assert checkout("--no-such").returncode == 2
    assert "--undo" in checkout("--help").stdout
