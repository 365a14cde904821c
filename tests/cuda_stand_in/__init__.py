"""A stand-in for CUDA's driver, NVRTC and cuBLAS, whose kernels run on the processor; for tests alone.

libgpuarray and Theano go their own way for CUDA, from the names of libraries to the texts of kernels. With
these three libraries, the driver's on LD_LIBRARY_PATH and the others in wheels, that way is gone to the end.
It shows whether the calls, their order and the texts are right, what is computed, what is copied, and which
device is chosen. It shows nothing of speed, of the machine code that NVRTC makes, and of a card's memory
model; but threads of a block meet at barriers alone, in turn from the last to the first and from the first to
the last, so what counts on the threads of a warp running in step comes out wrong. Memory that nobody wrote to
holds no numbers, and a page that nobody may touch lies behind each allocation (with
THEANO_FLAGS=gpuarray.preallocate=-1 behind each array; otherwise libgpuarray cuts arrays from larger ones).

Environment: STAND_IN_DEVICES (how many, 2), STAND_IN_MEMORY (bytes of each, 2 GiB), STAND_IN_CAPABILITY (90),
STAND_IN_COUNTS (a file for the number of copies and launches), STAND_IN_NVRTC (a real NVRTC that has to take
each text first), STAND_IN_COMPILER (g++). CUDA_VISIBLE_DEVICES is respected.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT

# Where they lie: the driver in a system's folder, the others in wheels.
LIBRARIES = {
    "driver": "libcuda.so.1",
    "compiler": "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    "blas": "nvidia/cublas/lib/libcublas.so.12",
}
# Of the compiler, for kernels; the header that all begin with is compiled by the same, once.
_OPTIONS = "-std=c++14 -O1 -w -fpermissive -fPIC"


def obstacle() -> str:
    """Say why it cannot be used on this machine; empty where it can."""
    if shutil.which("g++") is None:
        return "the stand-in for CUDA needs g++"
    try:
        ctypes.CDLL("libcuda.so")
    except OSError:
        return ""
    return "this machine has CUDA's own driver, which would come before the stand-in"


def build(folder: Path) -> Mapping[str, str]:
    """Compile it into a folder, and return the environment by which a process finds it."""
    here = Path(__file__).parent
    for source, name in LIBRARIES.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Without a name of its own: a real NVRTC beside it asks for libnvrtc.so.12, and has to find itself.
        own = ["-Wl,-soname,libcuda.so.1"] if source == "driver" else []
        command = ["g++", "-std=c++14", "-O1", "-fPIC", "-shared", *own]
        subprocess.run([*command, here / f"{source}.cpp", "-o", target, "-ldl"], check=True)
    words = (folder / LIBRARIES["compiler"]).parent / "words.h"
    shutil.copy(here / "words.h", words)
    subprocess.run(["g++", *_OPTIONS.split(), "-x", "c++-header", words, "-o", f"{words}.gch"], check=True)
    (folder / "nvidia" / "__init__.py").touch()
    return environment(folder)


def environment(folder: Path) -> Mapping[str, str]:
    """Return the environment by which a process finds what lies in a folder, before what the machine has."""
    libraries = filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")])
    # No card may ever be given what was compiled for the stand-in.
    flags = filter(None, [os.environ.get("THEANO_FLAGS"), f"gpuarray.cache_path={folder / 'kernels'}"])
    return {
        "STAND_IN_OPTIONS": _OPTIONS,
        "THEANO_FLAGS": ",".join(flags),
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
