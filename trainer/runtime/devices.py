"""The devices: how they are called, and whether Theano really has the one that was asked for."""

from __future__ import annotations

import importlib
import importlib.util
import re
from typing import Any

from trainer.errors import UsageError, nearest

_FORMS = re.compile(r"cpu|cuda\d*|opencl\d+:\d+")
_ALLOWED = ("cpu", "cuda", "cuda0", "opencl", "opencl0:0")


def canonical(name: str) -> str:
    """Return Theano's name of a device: `opencl` is its first platform's first device.

    Raises
    ------
    UsageError
        For a name that no device can have, or a GPU where the package that reaches one is not installed.
    """
    device = "opencl0:0" if name == "opencl" else name
    if not _FORMS.fullmatch(device):
        old = re.fullmatch(r"gpu(\d*)", name)
        hint = (
            f"did you mean cuda{old[1]}? Allowed are {', '.join(_ALLOWED)}"
            if old
            else nearest(name, _ALLOWED)
        )
        raise UsageError(f"device.name={name} is no device: {hint}, and other numbers")
    if device != "cpu" and importlib.util.find_spec("pygpu") is None:
        raise UsageError(
            f"device.name={name} cannot be used: the package pygpu (0.7, with libgpuarray) is not installed. "
            f"{_there_are()}. Install it (Debian: python3-pygpu; conda: pygpu), or take device.name=cpu"
        )
    return device


def confirm(device: str, complaint: str) -> str:
    """Return what the active device calls itself, once Theano is imported.

    Parameters
    ----------
    device : str
        The canonical name.
    complaint : str
        What Theano logged while it started the device.

    Raises
    ------
    UsageError
        Where Theano went on without the device.
    """
    import theano

    if device == "cpu":
        if theano.config.device != "cpu":
            raise UsageError(
                f"device.name=cpu was asked for, and Theano uses {theano.config.device}: mend THEANO_FLAGS"
            )
        return "cpu"
    gpuarray: Any = importlib.import_module("theano.gpuarray")
    if gpuarray.pygpu_activated and device in gpuarray.init_dev.devmap:
        return str(gpuarray.init_dev.devmap[device].devname)
    raise UsageError(
        f"device.name={device} could not be started ({complaint or 'Theano gives no reason'}). "
        f"{_there_are()}. Take one of them, or mend the driver and look with trainer-doctor --device {device}"
    )


def available() -> list[str]:
    """Return the names of the devices that this machine offers, `cpu` first."""
    found = ["cpu"]
    try:
        gpuarray: Any = importlib.import_module("pygpu.gpuarray")
    except ImportError:
        return found
    for kind in ("cuda", "opencl"):
        # A driver that is missing or broken says so in many ways, and offers no device in all of them.
        try:
            if kind == "cuda":
                found += [f"cuda{number}" for number in range(gpuarray.count_devices("cuda", 0))]
            else:
                for platform in range(gpuarray.count_platforms("opencl")):
                    devices = range(gpuarray.count_devices("opencl", platform))
                    found += [f"opencl{platform}:{number}" for number in devices]
        except Exception:
            continue
    return found


def _there_are() -> str:
    return f"Devices that there are: {', '.join(available())}"
