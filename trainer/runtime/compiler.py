"""The C++ compiler: found, tried once, remembered."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import UsageError
from trainer.runtime.remembered import remember, stamp

_TRIAL = '#include <new>\nextern "C" int trainer_trial() { delete new int; return 0; }\n'
_MAC = sys.platform == "darwin"


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that compiles and links.

    Attributes
    ----------
    path : str
        The program, with its folder.
    version : str
        What it says of itself, `12.2.0`.
    """

    path: str
    version: str

    def build(self, source: str, target: Path, *options: str) -> str:
        """Compile C++ text into a shared library; return the compiler's complaint, empty if it succeeded."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "trial.cpp"
            file.write_text(source)
            command = [self.path, "-shared", "-fPIC", str(file), "-o", str(target), *options]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        return "" if done.returncode == 0 else (done.stderr.strip() or f"status {done.returncode}")


def cure() -> str:
    """Say how a C++ compiler comes onto this system."""
    if _MAC:
        return "install one by `xcode-select --install`"
    known = {
        "apt-get": "apt-get install g++",
        "dnf": "dnf install gcc-c++",
        "yum": "yum install gcc-c++",
        "pacman": "pacman -S gcc",
        "zypper": "zypper install gcc-c++",
        "apk": "apk add g++",
    }
    for manager, command in known.items():
        if shutil.which(manager):
            return f"install one by `{command}`, or `conda install gxx` where you have conda"
    return "install g++ with your system's package manager, or by `conda install gxx`"


def find(asked: str | None, origin: str, cache: Path) -> Compiler:
    """Return the compiler that the user asked for, else the system's.

    Parameters
    ----------
    asked : str or None
        A program's name or path; None takes g++, then clang++ (on macOS the other way round).
    origin : str
        Where it was asked for, for messages: `device.compiler` or `the Theano flag cxx`.
    cache : Path
        The folder that remembers that it compiles.

    Raises
    ------
    UsageError
        Where there is none, or it cannot compile and link C++, or Python's C headers are missing.
    """
    compiler = _locate(asked, origin)
    _require_headers()

    def trial() -> str:
        with tempfile.TemporaryDirectory() as folder:
            candidate = Compiler(compiler, "")
            complaint = candidate.build(_TRIAL, Path(folder) / "trial.so")
        if complaint:
            raise UsageError(f"The C++ compiler {compiler} cannot compile ({_last(complaint)}): {cure()}")
        done = subprocess.run([compiler, "-dumpfullversion", "-dumpversion"], capture_output=True, text=True)
        return done.stdout.strip() or "unknown"

    return Compiler(compiler, remember(cache, "compiler", stamp(compiler), trial))


def complaint_of(error: BaseException) -> str | None:
    """Return what the compiler said first, where an error of Theano is of a compilation; else None.

    Theano raises a bare `Exception` with all that the compiler said, dots in the places of the ends of lines.
    """
    said = str(error.args[0]) if error.args else ""
    start = "Compilation failed (return status="
    if not said.startswith(start):
        return None
    status, _, complaint = said.removeprefix(start).partition("): ")
    return _last(complaint.replace(". ", "\n").strip() or f"it ended with status {status}")


def told(complaint: str) -> str:
    """Return the sentence for a compiler that failed while a run compiled."""
    return (
        f"the C++ compiler failed ({complaint}): see whether there is room on the disk, and what "
        "trainer-doctor finds; device.compiler=... gives another compiler"
    )


def _locate(asked: str | None, origin: str) -> str:
    if asked is not None:
        found = shutil.which(str(Path(asked).expanduser())) if asked.strip() else None
        if found is None:
            raise UsageError(
                f"{origin}={asked}: there is no such C++ compiler, and Theano needs one; "
                f"give another, or {cure()}"
            )
        return found
    for name in ("clang++", "g++") if _MAC else ("g++", "clang++"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise UsageError(f"There is no C++ compiler, and Theano needs one: {cure()}")


def _require_headers() -> None:
    folder = sysconfig.get_path("include")
    if not (Path(folder) / "Python.h").is_file():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise UsageError(
            f"Python's C headers are missing (no Python.h in {folder}), and Theano needs them: install "
            f"python{version}-dev (apt-get) or python3-devel (dnf), or use a Python that brings them"
        )


def _last(complaint: str) -> str:
    lines = [line for line in complaint.splitlines() if "error" in line.lower()] or complaint.splitlines()
    return lines[0].strip()
