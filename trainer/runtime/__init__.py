"""Theano made ready before it is imported: device, precision, BLAS, compiler, threads, compile cache.

>>> from trainer import runtime
>>> runtime.prepare(precision="float64").precision  # doctest: +SKIP
'float64'
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from trainer.errors import RunError, UsageError
from trainer.runtime import (
    device_code,
    device_libraries,
    devices,
    flags,
    modules,
    placement,
    quiet,
    verification,
)
from trainer.runtime import threads as thread_count
from trainer.runtime.blas import Blas
from trainer.runtime.choices import Choices
from trainer.runtime.compiler import Compiler, complaint_of, told

__all__ = ["Blas", "Choices", "Compiler", "Runtime", "current", "place", "prepare", "verify"]


@dataclass(frozen=True)
class Runtime:
    """What was decided, and verified.

    Attributes
    ----------
    device : str
        Theano's name of the device: `cpu`, `cuda0`, `opencl0:0`.
    device_name : str
        What the device calls itself.
    precision : str
        `floatX`: `float32` or `float64`.
    threads : int
        How many threads a matrix product uses.
    blas : Blas
        The library that computes matrix products on the CPU.
    compiler : Compiler
        What compiles Theano's modules.
    compile_cache : Path
        The folder that keeps them.
    allow_cpu_ops : bool
        Whether operations that the device lacks may run on the CPU.
    """

    device: str
    device_name: str
    precision: str
    threads: int
    blas: Blas
    compiler: Compiler
    compile_cache: Path
    allow_cpu_ops: bool = False

    @property
    def named(self) -> str:
        """The device, and what it calls itself."""
        own = f" ({self.device_name})" if self.device_name != self.device else ""
        return f"{self.device}{own}"

    def free_memory(self) -> int | None:
        """Return the bytes that one array on the device may take now; None for the CPU."""
        return devices.free_memory(self.device)


# One process has one Theano: what it was asked for, and what came of it (None where its device failed).
_chosen: Choices | None = None
_ready: Runtime | None = None


def prepare(
    name: str = "cpu",
    precision: str = "float32",
    threads: int | None = None,
    blas_ldflags: str | None = None,
    compiler: str | None = None,
    compile_cache: str | None = None,
    preallocate: float = 0.0,
    deterministic: bool = False,
    allow_cpu_ops: bool = False,
) -> Runtime:
    """Make Theano ready and import it; no other module imports Theano before.

    What is None is taken from the user's THEANO_FLAGS, then from `.theanorc`, then found. A later call with
    the same arguments changes nothing; `threads` alone may change from call to call.

    Parameters
    ----------
    name : str, default "cpu"
        The device: `cpu`, `cuda`, `cudaN`, `opencl`, `openclP:D` (platform and device).
    precision : str, default "float32"
        The type of Theano's `floatX`: `float32` or `float64`.
    threads : int, optional
        Threads of a matrix product. Default: OMP_NUM_THREADS, else the cores that this process may use.
    blas_ldflags : str, optional
        Linker flags of a BLAS. Default: a system OpenBLAS or MKL that links, else that of scipy-openblas32.
    compiler : str, optional
        A C++ compiler. Default: g++, else clang++ (on macOS the other way round).
    compile_cache : str, optional
        The folder of compiled modules. Default: `theano-trainer` in XDG_CACHE_HOME or ~/.cache.
    preallocate : float, default 0
        Memory of a device to take at the start: up to 1 a share of it, above that MiB; 0 to take it as it is
        needed.
    deterministic : bool, default False
        Whether a device is to prefer implementations whose sums come in the same order each time.
    allow_cpu_ops : bool, default False
        Whether operations that the device lacks may run on the CPU.

    Returns
    -------
    Runtime
        What was decided.

    Raises
    ------
    UsageError
        For whatever is missing, does not work, or cannot be changed any more, with its cure.
    RunError
        Where the compiler fails though it works.
    """
    global _chosen, _ready
    choices = Choices(
        name,
        precision,
        threads,
        blas_ldflags,
        compiler,
        compile_cache,
        preallocate,
        deterministic,
        allow_cpu_ops,
    )
    number = choices.count_threads()
    if _chosen is not None:
        return _again(choices, number)
    user = flags.UserFlags()
    device = choices.find_device(user)
    if "theano" in sys.modules:
        raise UsageError(
            "Theano was imported before it was made ready: import it after trainer.runtime.prepare()"
        )
    cache = choices.find_cache(user)
    program = choices.find_compiler(user, cache)
    # So long (2 to this power, in the processor's clock) OpenBLAS's threads look for work before they sleep,
    # and keep the core from all others: about a tenth of a millisecond instead of 25.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
    library = choices.find_blas(user, program, cache)
    library.set_threads(number)
    thread_count.shared[0] = number
    _chosen = choices
    if device != "cpu":
        device_libraries.provide(devices.kind_of(device), program, cache)
        if name == devices.kind_of(device):
            device = devices.free_one(name, cache) or device
    complaint = _import_theano(
        user,
        {
            "device": device,
            "floatX": precision,
            "cxx": program.path,
            "base_compiledir": str(cache),
            "blas.ldflags": library.ldflags,
            "gcc.cxxflags": " ".join([user.get("gcc.cxxflags") or "", *library.definitions]),
            "print_active_device": "False",
            **choices.device_flags(user, device),
        },
        program,
        cache,
    )
    # By it Theano refuses devices to the processes that this one starts, which have a device of their own.
    os.environ.pop("THEANO_GPU_IS_ALREADY_ACTIVE", None)
    device_name = devices.confirm(
        device, complaint, partial(device_libraries.provide, compiler=program, cache=cache)
    )
    if device != "cpu":
        device_code.mend()
    modules.use_compiled_code()
    modules.keep_scan_working()
    _ready = Runtime(
        device, device_name, precision, number, library, program, cache, allow_cpu_ops=choices.allow_cpu_ops
    )
    return _ready


def current() -> Runtime | None:
    """Return what `prepare` decided in this process; None where it has not made Theano ready."""
    return _ready


def verify(function: Any) -> None:
    """Check that each matrix product of a compiled Theano function calls the BLAS that `prepare` chose.

    Raises
    ------
    UsageError
        For a product that runs in Python, in NumPy, or in another library.
    """
    if _ready is None:
        raise UsageError("Theano is not ready: call trainer.runtime.prepare() first")
    verification.check(function, _ready.blas.prefix, _ready.blas.file)


def place(function: Any) -> str:
    """Say what a step compiled for a device copies at each call; refuse what is not to run on the CPU.

    Returns
    -------
    str
        A line for the log; empty on the CPU.

    Raises
    ------
    UsageError
        Where the device lacks operations, and `allow_cpu_ops` does not let them run on the CPU.
    """
    if _ready is None or _ready.device == "cpu":
        return ""
    found = placement.place(function)
    if not _ready.allow_cpu_ops:
        found.refuse_cpu(_ready.device)
    return found.describe()


def costs_on_cpu(functions: Sequence[Any], tell: Callable[[str], None]) -> list[placement.CostOnCpu]:
    """Give what measures, called after each step, the operations of compiled steps that the device lacks."""
    if _ready is None or _ready.device == "cpu":
        return []
    found = [(function, placement.place(function)) for function in functions]
    return [placement.CostOnCpu(function, place, tell) for function, place in found if place.on_cpu]


def _again(choices: Choices, number: int) -> Runtime:
    global _ready
    assert _chosen is not None
    changes = _chosen.changes(choices)
    if changes:
        raise UsageError(
            f"{', '.join(changes)} cannot change in a process that has imported Theano: "
            "give every job of a sweep the same, or run each in a process of its own"
        )
    if _ready is None:
        raise UsageError(
            f"device.name={choices.name} failed earlier in this process: start another for a new attempt"
        )
    if number != _ready.threads:
        _ready.blas.set_threads(number)
        thread_count.shared[0] = number
        _ready = replace(_ready, threads=number)
    return _ready


@contextmanager
def _theano_flags(text: str) -> Iterator[None]:
    """Set THEANO_FLAGS while Theano reads them; programs that we start are to see the user's own."""
    before = os.environ.get(flags.VARIABLE)
    os.environ[flags.VARIABLE] = text
    try:
        yield
    finally:
        if before is None:
            del os.environ[flags.VARIABLE]
        else:
            os.environ[flags.VARIABLE] = before


def _import_theano(user: flags.UserFlags, decided: Mapping[str, str], program: Compiler, cache: Path) -> str:
    """Import Theano with these flags; return what its GPU package complained about."""
    quiet.silence()
    # Theano reads the last value of a flag, so ours stand behind the user's.
    text = ",".join(filter(None, [user.text, flags.write(decided)]))
    with (
        _theano_flags(text),
        quiet.root_level_kept(),
        quiet.Heard("theano.gpuarray") as heard,
    ):
        try:
            with modules.TheanoImport(program, cache):
                import theano  # noqa: F401
        except Exception as error:
            complaint = complaint_of(error)
            if complaint is not None:
                raise RunError(told(complaint)) from error
            raise UsageError(
                f"Theano cannot be imported ({type(error).__name__}: {error}): "
                "mend THEANO_FLAGS or .theanorc where they are meant, and see what trainer-doctor finds"
            ) from error
    return heard.reason
