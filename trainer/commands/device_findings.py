"""The devices that `trainer-doctor` finds, and what stands in the way of others."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

from trainer.commands.device_trial import try_device
from trainer.commands.findings import OPTIONAL, WARNING, Row
from trainer.runtime import device_libraries, devices, drivers
from trainer.runtime.compiler import Compiler


def examine_devices(precision: str, compiler: Compiler, cache: Path) -> list[Row]:
    """Compute something on each device that is found, and say of each kind without any what it lacks."""
    if importlib.util.find_spec("pygpu") is None:
        return []
    if broken := devices.import_failure():
        cure = "Bring what it lacks: scripts/install-gpu in a checkout; Debian: libgpuarray3."
        return [Row("Devices", f"pygpu cannot be imported: {broken}", WARNING, cure)]
    names = named(compiler, cache)[1:]
    rows = [_examine(name, precision, cache) for name in names]
    rows += [] if any(name.startswith("cuda") for name in names) else [_cuda()]
    return rows + _opencl(names)


def named(compiler: Compiler, cache: Path) -> list[str]:
    """Return the names of all devices, under whatever names the machine has their libraries."""
    return devices.available(partial(device_libraries.provide, compiler=compiler, cache=cache))


def _examine(name: str, precision: str, cache: Path) -> Row:
    complaint = try_device(name, precision, cache)
    about = drivers.describe(name) or "its driver does not tell its name"
    if not complaint:
        return Row(name, f"{about}; Theano compiles for it, and computes rightly")
    lacks = device_libraries.lacking(devices.kind_of(name))
    cure = f"Install what is missing ({lacks})" if lacks else "Mend its driver (see docs/devices.md)"
    return Row(name, f"{about}; {complaint}", WARNING, f"{cure}, or train with device=cpu.")


def _cuda() -> Row:
    lacks = device_libraries.lacking("cuda")
    if not lacks:
        return Row("cuda", "its libraries are there, and no device", OPTIONAL)
    return Row("cuda", "no device; libraries are missing", OPTIONAL, f"Of use with an NVIDIA GPU: {lacks}.")


def _opencl(names: list[str]) -> list[Row]:
    """Say which platforms have no device, or that there is none at all."""
    platforms = drivers.opencl_platforms()
    empty = [
        Row(f"opencl{number}", f"{platform.name}: a platform without devices", OPTIONAL)
        for number, platform in enumerate(platforms)
        if not platform.devices
    ]
    if platforms or any(name.startswith("opencl") for name in names):
        return empty
    cure = "A GPU's driver brings one; for processors: pocl-opencl-icd, by scripts/install-gpu."
    return [Row("opencl", "no platform", OPTIONAL, cure)]
