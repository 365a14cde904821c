"""A stand-in for CUDA's driver, NVRTC and cuBLAS, whose kernels run on the processor; for tests alone.

libgpuarray and Theano go their own way for CUDA, from the names of libraries to the texts of kernels. With
these three libraries on LD_LIBRARY_PATH that way is gone to the end. It shows whether the calls, their order
and the texts are right, what is computed, what is copied, and which device is chosen. It shows nothing of
speed, of the machine code that NVRTC makes, and of a card's memory model; but threads of a block meet at
barriers alone, so what counts on the threads of a warp running in step comes out wrong.

Environment: STAND_IN_DEVICES (how many, 2), STAND_IN_MEMORY (bytes of each, 2 GiB), STAND_IN_CAPABILITY (90),
STAND_IN_COUNTS (a file for the number of copies and launches), STAND_IN_NVRTC (a real NVRTC that has to take
each text first), STAND_IN_COMPILER (g++). CUDA_VISIBLE_DEVICES is respected.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import ROOT

_SOURCES = {"driver": "libcuda.so.1", "compiler": "libnvrtc.so.12", "blas": "libcublas.so.12"}


def obstacle() -> str:
    """Say why it cannot be used on this machine; empty where it can."""
    if shutil.which("g++") is None:
        return "the stand-in for CUDA needs g++"
    try:
        ctypes.CDLL("libcuda.so")
    except OSError:
        return ""
    return "this machine has CUDA's own driver, which would come before the stand-in"


def build(folder: Path) -> dict[str, str]:
    """Compile it into a folder, and return the environment by which a process finds it."""
    here = Path(__file__).parent
    shutil.copy(here / "words.h", folder)
    # Before a package of CUDA's real libraries, which would be preferred.
    (folder / "nvidia").mkdir()
    (folder / "nvidia" / "__init__.py").touch()
    for source, name in _SOURCES.items():
        command = ["g++", "-std=c++14", "-O1", "-fPIC", "-shared", f"-Wl,-soname,{name}"]
        command += [str(here / f"{source}.cpp"), "-o", str(folder / name), "-ldl"]
        subprocess.run(command, check=True)
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")])),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
