"""The libraries that libgpuarray loads while it runs, under the names by which it asks for them.

libgpuarray 0.7.6 asks for `libcuda.so`, `libnvrtc.so`, `libcublas.so`, `libOpenCL.so` and `libclblast.so`.
Only development packages bring these names; drivers, packages for running and PyPI's wheels have
`libcuda.so.1` or `libnvrtc.so.12`. For each name that is missing, a small library that bears it and needs
the real one is compiled and loaded, which answers the later request: neither LD_LIBRARY_PATH nor a link in
a system's folder is needed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from trainer.runtime.compiler import Compiler
from trainer.runtime.remembered import digest, stamp

# A name to the patterns of a wheel's file, and to the sonames by which a system has it, the best first.
_KNOWN: dict[str, tuple[str, tuple[str, ...]]] = {
    "libcuda.so": ("", ("libcuda.so.1",)),
    "libnvrtc.so": (
        "libnvrtc.so.*",
        ("libnvrtc.so", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so.13"),
    ),
    "libcublas.so": ("libcublas.so.*", ("libcublas.so.12", "libcublas.so.11", "libcublas.so.13")),
    "libOpenCL.so": ("", ("libOpenCL.so.1",)),
    "libclblast.so": ("", ("libclblast.so.1",)),
}
_OF_CUDA = ("libcuda.so", "libnvrtc.so", "libcublas.so")
_OF_OPENCL = ("libOpenCL.so", "libclblast.so")
_BROUGHT = {
    "libcuda.so": "the driver, such as nvidia-driver",
    "libnvrtc.so": "the compiler, by pip install 'theano-trainer[cuda]'",
    "libcublas.so": "matrix products, by pip install 'theano-trainer[cuda]'",
    "libOpenCL.so": "OpenCL's loader, such as ocl-icd-libopencl1",
    "libclblast.so": "matrix products, such as libclblast1",
}
_PLAIN = "extern int trainer_names_a_library;\n"

# libgpuarray writes an architecture with two digits, and so cuts `compute_120` to `compute_12`, which no
# NVRTC takes.
_NVRTC = r"""
#include <dlfcn.h>
#include <string.h>

extern "C" int nvrtcCompileProgram(void* program, int count, const char* const* options) {
    static const char* const cut[] = {"compute_10", "compute_11", "compute_12"};
    static const char* const whole[] = {"compute_100", "compute_110", "compute_120"};
    typedef int Compile(void*, int, const char* const*);
    void* library = dlopen(LIBRARY, RTLD_LAZY);
    Compile* compile = library ? (Compile*)dlsym(library, "nvrtcCompileProgram") : 0;
    const char* mended[64];
    if (!compile || count > 64) return 11;
    for (int at = 0; at < count; ++at) {
        mended[at] = options[at];
        for (int which = 0; which < 3; ++which)
            if (!strcmp(options[at], cut[which])) mended[at] = whole[which];
    }
    return compile(program, count, mended);
}
"""

_loaded: dict[str, ctypes.CDLL] = {}


def provide(kind: str, compiler: Compiler, cache: Path) -> None:
    """Have the libraries of a kind of device found in this process, as far as the machine has them.

    Parameters
    ----------
    kind : str
        `cuda` or `opencl`.
    compiler : Compiler
        What compiles the libraries that bear the names.
    cache : Path
        The compile cache's folder, where they are kept.
    """
    for name in _OF_CUDA if kind == "cuda" else _OF_OPENCL:
        # NVRTC is always asked through ours, for the architecture's sake.
        if name in _loaded or (name != "libnvrtc.so" and _load(name) is not None):
            continue
        real = next(_candidates(name), None)
        if real is not None:
            bridge = _bridge(name, real, compiler, cache)
            library = _load(str(bridge)) if bridge is not None else None
            if library is not None:
                _loaded[name] = library


def found(name: str) -> str | None:
    """Return the file that answers to a library's name, wheels first; None where the machine has none."""
    real = next(_candidates(name), None)
    return None if real is None else str(real)


def lacking(kind: str) -> str:
    """Say which libraries of a kind of device this machine lacks, each with what brings it; empty for none.

    Parameters
    ----------
    kind : str
        `cuda` or `opencl`.
    """
    names = _OF_CUDA if kind == "cuda" else _OF_OPENCL
    return ", ".join(f"{name}: {_BROUGHT[name]}" for name in names if found(name) is None)


def _candidates(name: str) -> Iterator[Path]:
    pattern, sonames = _KNOWN[name]
    if pattern:
        yield from _of_wheels(pattern)
    for soname in (name, *sonames):
        if _load(soname) is not None and (path := _path_of(soname)) is not None:
            yield path


def _of_wheels(pattern: str) -> list[Path]:
    """Find a library in the packages `nvidia-…-cu12` and the like, which share the folder `nvidia`."""
    specification = importlib.util.find_spec("nvidia")
    places = list(specification.submodule_search_locations or ()) if specification else []
    files = [file for place in places for file in Path(place).glob(f"*/lib/{pattern}")]
    return sorted(file for file in files if ".alt." not in file.name)


def _load(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _path_of(soname: str) -> Path | None:
    """Return where a library that is loaded comes from, which Linux writes down."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return None
    paths = (Path(line.split(maxsplit=5)[5]) for line in lines if line.count("/"))
    # The file of libcuda.so.1 is libcuda.so.550.54, the rest of the name is the driver's number.
    begin = soname.partition(".so")[0] + ".so"
    return next((path for path in paths if path.name.startswith(begin)), None)


def _bridge(name: str, real: Path, compiler: Compiler, cache: Path) -> Path | None:
    """Compile the library that bears a name and needs the real one; None where that fails."""
    source = _NVRTC.replace("LIBRARY", f'"{real}"') if name == "libnvrtc.so" else _PLAIN
    folder = cache / "devices" / digest([source, stamp(real), compiler.path])
    target = folder / name
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.{os.getpid()}"
    links = ("-Wl,--no-as-needed", str(real), f"-Wl,-rpath,{real.parent}", f"-Wl,-soname,{name}", "-ldl")
    if compiler.build(source, partial, *links):
        return None
    partial.replace(target)
    return target
