"""Faults of the machine, told with what helps: its disk, its memory, its compiler, its compile cache."""

from __future__ import annotations

import errno
import re
from pathlib import Path

_CURES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room within the quota",
    errno.EFBIG: "files of that size are not allowed here",
    errno.EROFS: "choose a folder that can be written, with hydra.run.dir",
    errno.EACCES: "make it readable and writable, or choose another folder with hydra.run.dir",
    errno.EPERM: "make it readable and writable, or choose another folder with hydra.run.dir",
    errno.EMFILE: "allow more open files, by ulimit -n",
    errno.ENOMEM: "make memory free",
}
_LIBRARY = re.compile(r"(/\S+\.so)\b")


def explain_fault(error: BaseException) -> str | None:
    """Say what a fault means and what helps; None for what is none.

    >>> explain_fault(OSError(errno.ENOSPC, "No space left on device", "run/data.json"))
    'run/data.json: No space left on device: make room'
    """
    if isinstance(error, MemoryError):
        told = " ".join(str(error).split())
        return f"out of memory{f' ({told})' if told else ''}: choose smaller batches or a smaller model"
    if isinstance(error, ImportError):
        library = _LIBRARY.search(str(error))
        if library and Path(library[1]).parent.name.startswith(("tmp", "lazylinker_ext", "cutils_ext")):
            return (
                f"the compile cache has a module that cannot be loaded ({' '.join(str(error).split())}): "
                f"delete {Path(library[1]).parent}, and it is compiled anew"
            )
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename is not None else ""
        cure = _CURES.get(error.errno)
        return f"{place}{error.strerror}{f': {cure}' if cure else ''}"
    return _of_compiler(error)


def _of_compiler(error: BaseException) -> str | None:
    """Tell of a compilation that failed: Theano raises a bare `Exception` with all that the compiler said."""
    said = str(error.args[0]) if error.args else ""
    if not said.startswith("Compilation failed (return status="):
        return None
    status, _, complaint = said.removeprefix("Compilation failed (return status=").partition("): ")
    # Theano puts dots in the places of the ends of lines.
    lines = [line for line in complaint.split(". ") if "error" in line.lower()] or complaint.split(". ")
    told = lines[0].strip() or f"it ended with status {status}"
    return (
        f"the C++ compiler failed: {told}: see whether the disk is full and what trainer-doctor finds; "
        "device.compiler=... gives another compiler"
    )
