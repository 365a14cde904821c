"""`scripts/install-gpu` brings pygpu into .venv and takes it out; a sentence for all that is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT


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


TOOLS = ("bash", "cat", "cp", "env", "ln", "mkdir", "mv", "readlink", "rm", "sed")


class Machine:
    """A PATH with little but what is put there, so that nothing of the real system is asked or changed."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        self.checkout, self.programs = checkout, folder
        folder.mkdir()
        for name in TOOLS:
            (folder / name).symlink_to(str(shutil.which(name)))

    def has(self, name: str, does: str) -> None:
        """Give it a program, in the shell's language."""
        (self.programs / name).write_text(f"#!/bin/bash\n{does}\n")
        (self.programs / name).chmod(0o755)

    def fails(self, *arguments: str, **options: Any) -> str:
        """Run the installer, which has to end with status 1 and one sentence; return the sentence."""
        installer = self.checkout.root / "scripts" / "install-gpu"
        command: list[str | Path] = [self.programs / "bash", installer, *arguments]
        environment = {"PATH": str(self.programs), "TRAINER_SYSTEM_PACKAGES": str(self.checkout.system)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, **options)
        assert done.returncode == 1, done.stdout + done.stderr
        sentence: str
        (sentence,) = done.stderr.splitlines()
        return sentence.removeprefix("scripts/install-gpu: ")


@pytest.fixture
def machine(checkout: Checkout, tmp_path: Path) -> Machine:
    return Machine(checkout, tmp_path / "programs")


class TestWhatIsMissing:
    """Each ends with one sentence that says it, and what helps."""

    def test_a_system_without_apt(self, machine: Machine) -> None:
        said = machine.fails()
        assert said.startswith("this system has no apt")
        assert "docs/devices.md" in said
        assert "TRAINER_SYSTEM_PACKAGES" in said

    def test_packages_that_apt_does_not_know(self, machine: Machine) -> None:
        for name in ("apt-get", "apt-cache", "dpkg-query", "sudo"):
            machine.has(name, "exit 0")
        assert machine.fails().startswith("apt knows no package libgpuarray3 (Debian 12 has it)")

    def test_a_network_that_is_down(self, machine: Machine) -> None:
        machine.has("apt-get", 'echo "W: a warning" >&2; echo "E: Failed to fetch a-file" >&2; exit 100')
        machine.has("apt-cache", "echo libgpuarray3")
        machine.has("dpkg-query", "exit 1")
        machine.has("sudo", '"$@"')
        said = machine.fails()
        assert said.startswith("apt-get could not install libgpuarray3 python3-pygpu")
        assert "(E: Failed to fetch a-file): mend that and run this again" in said

    def test_somebody_who_is_not_root(self) -> None:
        anybody = {"user": 65534} if os.geteuid() == 0 else {}
        # What pytest makes, its owner alone may enter.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            machine = Machine(Checkout(Path(folder)), Path(folder) / "programs")
            for name in ("apt-get", "apt-cache"):
                machine.has(name, "exit 0")
            machine.has("dpkg-query", "exit 1")
            said = machine.fails("--packages", **anybody)
        assert said.startswith("packages are missing (libgpuarray3 ")
        assert "run scripts/install-gpu --packages as root" in said

    def test_no_environment_yet(self, machine: Machine) -> None:
        shutil.rmtree(machine.checkout.root / ".venv")
        assert machine.fails("--link").startswith("there is no .venv: run scripts/train --help once")

    def test_no_package_to_link(self, machine: Machine) -> None:
        shutil.rmtree(machine.checkout.system)
        assert "TRAINER_SYSTEM_PACKAGES=FOLDER" in machine.fails("--link")

    def test_no_compiler(self, machine: Machine) -> None:
        assert machine.fails("--build") == "there is no C compiler to build pygpu with: install gcc."

    def test_no_mako_and_no_network(self, machine: Machine) -> None:
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        (machine.checkout.system / "pygpu" / f"gpuarray{suffix}").touch()
        (machine.checkout.system / "pygpu" / "__init__.py").write_text("import mako")
        machine.has("uv", 'echo "error: Request failed" >&2; echo "  Caused by: no network" >&2; exit 2')
        said = machine.fails("--link")
        assert said.startswith("Mako, which pygpu needs, could not be installed into .venv (error: Request")
