"""Faults of the machine, told with what helps: its disk, its memory, its compiler, its compile cache."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from trainer import runtime
from trainer.runtime.compiler import complaint_of, told
from trainer.runtime.device_code import is_without_reason, refusal_of

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
        asked = " ".join(str(error).split())
        return f"out of memory{f' ({asked})' if asked else ''}: choose smaller batches or a smaller model"
    if isinstance(error, ImportError):
        library = _LIBRARY.search(str(error))
        if library and Path(library[1]).parent.name == "modules":
            return (
                f"the compile cache has a module that cannot be loaded ({' '.join(str(error).split())}): "
                f"delete {library[1]}, and it is compiled anew"
            )
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename is not None else ""
        cure = _CURES.get(error.errno)
        return f"{place}{error.strerror}{f': {cure}' if cure else ''}"
    refused = refusal_of(error)
    if refused is not None:
        ready = runtime.current()
        # Where two processes build one kernel at a time, PoCL 3.1 refuses it to one, without a reason.
        again = "run it again where others were building kernels at the same time, or "
        return (
            f"device.name={ready.device if ready else 'the device'}: its compiler refused the kernel of "
            f"{refused}: {again * is_without_reason(refused)}take another device, such as device=cpu, "
            "another device.precision, a newer driver, or another layer or rule; trainer-doctor tries every "
            "device"
        )
    complaint = complaint_of(error)
    return None if complaint is None else told(complaint)
