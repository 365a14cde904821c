"""The devices that `trainer-doctor` finds, and what stands in the way of others."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trainer.commands.device_trial import try_device
from trainer.commands.findings import OPTIONAL, WARNING, Row
from trainer.runtime import device_libraries, devices
from trainer.runtime.compiler import Compiler


def examine_devices(precision: str, compiler: Compiler, cache: Path) -> list[Row]:
    """Compute something on each device that is found, and say what CUDA lacks where none of its kind is."""
    if importlib.util.find_spec("pygpu") is None:
        return []
    for kind in ("cuda", "opencl"):
        device_libraries.provide(kind, compiler, cache)
    names = [name for name in devices.available() if name != "cpu"]
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


def _cuda() -> Row:
    parts = {"libcuda.so": "driver", "libnvrtc.so": "compiler", "libcublas.so": "matrix products"}
    lacks = [f"{name} ({use})" for name, use in parts.items() if device_libraries.found(name) is None]
    if not lacks:
        return Row("cuda", "its libraries are there, and no device", OPTIONAL)
    cure = (
        "The driver comes with the system (nvidia-driver), the others by pip install 'theano-trainer[cuda]'."
    )
    return Row("cuda", f"no device; not found: {', '.join(lacks)}", OPTIONAL, cure)
