"""The devices that `trainer-doctor` finds, and what stands in the way of others."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

from trainer.commands.device_trial import try_device
from trainer.commands.findings import OPTIONAL, WARNING, Row
from trainer.runtime import device_libraries, devices
from trainer.runtime.compiler import Compiler


def examine_devices(precision: str, compiler: Compiler, cache: Path) -> list[Row]:
    """Compute something on each device that is found, and say what CUDA lacks where none of its kind is."""
    if importlib.util.find_spec("pygpu") is None:
        return []
    names = named(compiler, cache)[1:]
    rows = []
    for name in names:
        trial = try_device(name, precision, cache)
        if trial.complaint:
            found = f"{trial.description}; {trial.complaint}" if trial.description else trial.complaint
            rows.append(
                Row(name, found, WARNING, "Train with device=cpu, or mend its driver; see docs/devices.md.")
            )
        else:
            rows.append(Row(name, f"{trial.description}; Theano compiles for it, and computes rightly"))
    return rows if any(name.startswith("cuda") for name in names) else [*rows, _cuda()]


def named(compiler: Compiler, cache: Path) -> list[str]:
    """Return the names of all devices, under whatever names the machine has their libraries."""
    return devices.available(partial(device_libraries.provide, compiler=compiler, cache=cache))


def _cuda() -> Row:
    lacks = device_libraries.lacking()
    if not lacks:
        return Row("cuda", "its libraries are there, and no device", OPTIONAL)
    told = ", ".join(f"{name} ({use})" for name, use in lacks.items())
    cure = device_libraries.cure(lacks)
    return Row("cuda", f"no device; not found: {told}", OPTIONAL, f"To have one, {cure}.")
