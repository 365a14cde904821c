"""What a run asked of Theano, and each decision that follows from it, one at a time."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.errors import UsageError
from trainer.runtime import blas, compiler, devices, threads
from trainer.runtime.blas import Blas
from trainer.runtime.compiler import Compiler
from trainer.runtime.flags import UserFlags

PRECISIONS = ("float32", "float64")


@dataclass(frozen=True)
class Choices:
    """The settings of `trainer.runtime.prepare`; what is None is left to the user's flags, then found.

    Each method decides one thing, and raises a UsageError with the cure where it cannot.
    """

    name: str = "cpu"
    precision: str = "float32"
    threads: int | None = None
    blas_ldflags: str | None = None
    compiler: str | None = None
    compile_cache: str | None = None
    preallocate: float = 0.0
    deterministic: bool = False
    allow_cpu_ops: bool = False

    def device_flags(self, user: UserFlags, device: str) -> dict[str, str]:
        """Return Theano's flags about the work of a device."""
        flags = {"deterministic": "more"} if self.deterministic else {}
        if device.startswith("opencl"):
            # libgpuarray compiles the kernel that writes zeros anew at each call, for 30 ms (PoCL).
            excluded = filter(None, [user.get("optimizer_excluding"), "local_gpualloc_memset_0"])
            flags["optimizer_excluding"] = ":".join(excluded)
        if self.preallocate:
            flags["gpuarray.preallocate"] = str(self.preallocate)
        return flags

    def find_device(self, user: UserFlags) -> str:
        """Return Theano's name of the device, after a look at the flags for this one command.

        `.theanorc` is for all programs, and so may say otherwise.
        """
        device = devices.canonical(self.name)
        if self.precision not in PRECISIONS:
            raise UsageError(f"device.precision={self.precision}: give {' or '.join(PRECISIONS)}")
        for flag, key, value in (("device", "name", device), ("floatX", "precision", self.precision)):
            said = user.environment.get(flag, value)
            if said != value:
                raise UsageError(
                    f"THEANO_FLAGS says {flag}={said} and the configuration device.{key}={value}: "
                    f"give device.{key}={said}, or take {flag} out of THEANO_FLAGS"
                )
        return device

    def find_cache(self, user: UserFlags) -> Path:
        """Return the folder of compiled modules, made and found writable."""
        asked, origin = _first("compile_cache", self.compile_cache, "base_compiledir", user)
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        folder = Path(asked or f"{home}/theano-trainer").expanduser().absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            given = f"{origin}={asked}" if asked else f"the compile cache {folder}"
            raise UsageError(
                f"{given} cannot be written ({error.strerror}): "
                "give a folder that can, by device.compile_cache=..."
            ) from error
        return folder

    def find_compiler(self, user: UserFlags, cache: Path) -> Compiler:
        """Return a C++ compiler that compiles."""
        return compiler.find(*_first("compiler", self.compiler, "cxx", user), cache)

    def find_blas(self, user: UserFlags, program: Compiler, cache: Path) -> Blas:
        """Return a BLAS that links and computes rightly."""
        return blas.find(*_first("blas_ldflags", self.blas_ldflags, "blas.ldflags", user), program, cache)

    def count_threads(self) -> int:
        """Return how many threads a matrix product may use."""
        return threads.count(self.threads)

    def changes(self, later: Choices) -> list[str]:
        """Say what a later choice has otherwise, `threads` aside, which can change at any time."""
        before, now = asdict(self), asdict(later)
        return [
            f"device.{key}={now[key]} (was {before[key]})"
            for key in now
            if key != "threads" and now[key] != before[key]
        ]


def _first(key: str, given: str | None, flag: str, user: UserFlags) -> tuple[str | None, str]:
    if given is not None:
        return given, f"device.{key}"
    return user.get(flag), f"the Theano flag {flag}"
