"""The matrix library: the user's own, else the system's, else the one that comes with the installation."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from trainer.errors import UsageError
from trainer.runtime.compiler import Compiler
from trainer.runtime.loaded import source
from trainer.runtime.remembered import digest, remember, stamp
from trainer.runtime.store import Store

# Every BLAS function whose name stands in code that Theano generates, and what sets the threads.
_ROUTINES = (
    *(
        f"{precision}{routine}_"
        for precision in "sd"
        for routine in ("gemm", "gemv", "ger", "dot", "axpy", "scal")
    ),
    *("sdsdot_", "dsdot_", "scopy_", "dcopy_", "sswap_", "dswap_"),
)
_THREADS = ("openblas_set_num_threads", "openblas_get_num_threads")

# The products are small, but wrong where the library counts in 64 bits or passes results another way.
_TRIAL = """
extern "C" {
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
            const int*, const double*, const int*, const double*, double*, const int*);
void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
            const int*, const float*, const int*, const float*, float*, const int*);
void sgemv_(); void dgemv_(); void sger_(); void dger_();
float sdot_(const int*, const float*, const int*, const float*, const int*);
double ddot_(const int*, const double*, const int*, const double*, const int*);
void *trainer_used[] = {(void*)sgemv_, (void*)dgemv_, (void*)sger_, (void*)dger_};
int trainer_trial() {
    const int two = 2, one = 1;
    const double a[] = {1, 2, 3, 4}, b[] = {5, 6, 7, 8}, unit = 1, zero = 0;
    const float af[] = {1, 2, 3, 4}, bf[] = {5, 6, 7, 8}, unitf = 1, zerof = 0;
    double c[4]; float cf[4];
    dgemm_("N", "N", &two, &two, &two, &unit, a, &two, b, &two, &zero, c, &two);
    sgemm_("N", "N", &two, &two, &two, &unitf, af, &two, bf, &two, &zerof, cf, &two);
    return !(c[0] == 23 && c[1] == 34 && c[2] == 31 && c[3] == 46
             && cf[0] == 23 && cf[1] == 34 && cf[2] == 31 && cf[3] == 46
             && ddot_(&two, a, &one, b, &one) == 17 && sdot_(&two, af, &one, bf, &one) == 17);
}
}
"""


@dataclass(frozen=True)
class Blas:
    """A BLAS that links, loads and computes rightly.

    Attributes
    ----------
    ldflags : str
        What Theano gets as `blas.ldflags`.
    origin : str
        Who chose it: `user`, `system` or `wheel`.
    prefix : str
        What stands before each symbol's name in the library, empty in most.
    file : str
        The file that holds its `sgemm`.
    """

    ldflags: str
    origin: str
    prefix: str
    file: str
    _trial: ctypes.CDLL = field(repr=False, compare=False)

    @property
    def definitions(self) -> list[str]:
        """Compiler options that give the library's names to the functions that Theano calls."""
        return _definitions(self.prefix)

    def set_threads(self, threads: int) -> None:
        """Let the library use this many threads from now on."""
        for name in (f"{self.prefix}openblas_set_num_threads", "MKL_Set_Num_Threads"):
            try:
                function = getattr(self._trial, name)
            except AttributeError:
                continue
            function.argtypes, function.restype = (ctypes.c_int,), None
            function(threads)
            return


@dataclass(frozen=True)
class _Candidate:
    ldflags: str
    origin: str
    prefix: str = ""


def find(asked: str | None, named: str, compiler: Compiler, cache: Path) -> Blas:
    """Return the first BLAS that links: the user's, the system's OpenBLAS or MKL, the wheel's OpenBLAS.

    Parameters
    ----------
    asked : str or None
        The user's linker flags; with them no other library is tried.
    named : str
        Where they were given, for messages: `device.blas_ldflags` or `the Theano flag blas.ldflags`.
    compiler : Compiler
        What links the trial.
    cache : Path
        The folder that keeps the trial, so that later starts only load it.

    Raises
    ------
    UsageError
        Where the user's flags do not link, or no library does.
    """
    if asked is not None and not asked.strip():
        raise UsageError(
            f"{named} is empty, and Theano would compute matrix products slowly in NumPy: "
            "leave it out to take the library that is found, or name one, as in -lopenblas"
        )
    candidates = [_given(asked)] if asked is not None else list(_available())
    complaints = []
    for candidate in candidates:
        complaint, library = _try(candidate, compiler, cache)
        if library is not None:
            return library
        complaints.append(f"{candidate.ldflags}: {complaint}")
    if asked is not None:
        raise UsageError(
            f"{named}={asked} does not give a working BLAS ({complaints[0].split(': ', 1)[1]}): "
            "mend it, or leave it out to take the library that is found"
        )
    raise UsageError(
        f"No BLAS library works ({'; '.join(complaints) or 'none was found'}): "
        "install scipy-openblas32 with pip, or OpenBLAS with your system's package manager "
        "(libopenblas-dev, openblas-devel)"
    )


def _given(ldflags: str) -> _Candidate:
    return _Candidate(ldflags, "user", "scipy_" if "scipy_openblas" in ldflags else "")


def _available() -> Iterator[_Candidate]:
    # A library of this Python's own prefix (conda's) comes first: NumPy there uses the same one.
    own = Path(sys.prefix) / "lib"
    for name in ("openblas", "mkl_rt"):
        if " " not in str(own) and any(own.glob(f"lib{name}.*")):
            yield _Candidate(f"-L{own} -l{name}", "system")
        yield _Candidate(f"-l{name}", "system")
    wheel = wheel_folder()
    if wheel is not None:
        if " " in str(wheel):
            # Theano splits its flags at each space, so such a folder goes by the linker's own variable.
            places = os.environ.get("LIBRARY_PATH", "").split(os.pathsep)
            if str(wheel) not in places:
                os.environ["LIBRARY_PATH"] = os.pathsep.join([str(wheel), *filter(None, places)])
            yield _Candidate("-lscipy_openblas", "wheel", "scipy_")
        else:
            yield _Candidate(f"-L{wheel} -lscipy_openblas", "wheel", "scipy_")


def wheel_folder() -> Path | None:
    """Return the folder of the library in the installed scipy-openblas32, None without it."""
    found = importlib.util.find_spec("scipy_openblas32")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "lib"
    return folder if folder.is_dir() else None


def _definitions(prefix: str) -> list[str]:
    return [f"-D{name}={prefix}{name}" for name in (*_ROUTINES, *_THREADS)] if prefix else []


def _try(candidate: _Candidate, compiler: Compiler, cache: Path) -> tuple[str, Blas | None]:
    folders = [flag[2:] for flag in candidate.ldflags.split() if flag.startswith("-L")]
    key = [candidate.ldflags, candidate.prefix, stamp(compiler.path, *folders), _surroundings(), _TRIAL]
    store, name = Store(cache / "probes"), f"blas-{digest(key)}"
    link = partial(_link, candidate, compiler, store, name)
    complaint: str = remember(cache, "blas", key, link)
    file = None if complaint else store.find(name)
    if not complaint and file is None:
        complaint = link()
        file = store.find(name)
    if complaint or file is None:
        return complaint, None
    trial = _load(candidate, file)
    library = source(trial, f"{candidate.prefix}sgemm_")
    if library is None:
        return "its library has no sgemm", None
    return "", Blas(candidate.ldflags, candidate.origin, candidate.prefix, library, trial)


def _surroundings() -> list[object]:
    """Describe where libraries are looked for, so that one that comes or goes is noticed."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or "lib64"
    places = [
        "/etc/ld.so.cache",
        "/usr/lib",
        f"/usr/lib/{multiarch}",
        "/usr/lib64",
        "/usr/local/lib",
        f"{sys.prefix}/lib",
    ]
    variables = [
        os.environ.get(name, "") for name in ("LIBRARY_PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    ]
    for variable in variables:
        places.extend(filter(None, variable.split(os.pathsep)))
    return [variables, stamp(*places, wheel_folder() or "")]


def _link(candidate: _Candidate, compiler: Compiler, store: Store, name: str) -> str:
    flags = candidate.ldflags.split()
    rpaths = [f"-Wl,-rpath,{flag[2:]}" for flag in flags if flag.startswith("-L")]
    with store.building() as folder:
        file = folder / "trial.so"
        complaint = compiler.build(_TRIAL, file, *_definitions(candidate.prefix), *flags, *rpaths)
        if complaint:
            lines = complaint.splitlines()
            return next((line for line in lines if "-l" in line or "error" in line), lines[-1]).strip()
        # In a process of its own: a library with 64-bit indices may crash on 32-bit ones.
        preload = f"ctypes.CDLL({str(_preloaded(candidate))!r});" if _preloaded(candidate) else ""
        program = f"import ctypes,sys;{preload}sys.exit(ctypes.CDLL({str(file)!r}).trainer_trial())"
        done = subprocess.run(
            [sys.executable, "-S", "-c", program], capture_output=True, text=True, errors="replace"
        )
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()
            return reason[-1] if reason else "it computes wrong products of matrices, or crashes"
        store.keep(name, file)
    return ""


def _preloaded(candidate: _Candidate) -> Path | None:
    folder = wheel_folder()
    if candidate.origin != "wheel" or folder is None:
        return None
    return next((file for file in folder.iterdir() if file.name.startswith("libscipy_openblas.")), None)


def _load(candidate: _Candidate, file: Path) -> ctypes.CDLL:
    preloaded = _preloaded(candidate)
    if preloaded is not None:
        ctypes.CDLL(str(preloaded))
    return ctypes.CDLL(str(file))
