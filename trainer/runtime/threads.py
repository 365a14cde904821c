"""How many threads a matrix product may use."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

from trainer.errors import UsageError

# Kernels in C read the number of threads where it lies, and keep the address of their pool beside it.
shared = (ctypes.c_int64 * 2)(1, 0)

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def count(asked: int | None) -> int:
    """Return the number of threads: as asked, else as the environment says, else the cores that we may use.

    Raises
    ------
    UsageError
        For a number below one, from either.
    """
    if asked is not None:
        if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
            raise UsageError(f"device.threads={asked}: give a whole number from 1, or null for all cores")
        return asked
    for name in _VARIABLES:
        value = os.environ.get(name, "").strip()
        if value:
            # OMP_NUM_THREADS may be a list, one number a level of nesting.
            first = value.split(",", 1)[0].strip()
            if not first.isdecimal() or int(first) < 1:
                raise UsageError(
                    f"{name}={value} in the environment: give a whole number from 1, or unset it"
                )
            return int(first)
    return cores()


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its control group's quota."""
    known = hasattr(os, "sched_getaffinity")
    allowed = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return math.ceil(int(quota) / int(period)) if quota != "max" else None
