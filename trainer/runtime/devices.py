"""The devices: how they are called, and whether Theano really has the one that was asked for."""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from trainer.errors import UsageError, nearest
from trainer.runtime import device_libraries
from trainer.runtime.remembered import digest

_FORMS = re.compile(r"cpu|cuda\d*|opencl\d+:\d+")
_taken: list[TextIO] = []  # open for as long as the process lives
_ALLOWED = ("cpu", "cuda", "cuda0", "opencl", "opencl0:0")


def check_form(name: str, key: str = "device.name") -> None:
    """Refuse a name that no device can have.

    Raises
    ------
    UsageError
        With the name that was probably meant.
    """
    if name == "opencl" or _FORMS.fullmatch(name):
        return
    cuda, short = re.fullmatch(r"(?:gpu|cuda):?(\d*)", name), re.fullmatch(r"opencl(\d+|:\d+)", name)
    number = short[1] if short else ""
    meant = f"cuda{cuda[1]}" if cuda else ""
    if short:
        meant = f"opencl0{number}" if number.startswith(":") else f"opencl{number}:0"
    also = "opencl is followed by a platform's number and a device's; " if short else ""
    hint = (
        f"{also}did you mean {meant}? Allowed are {', '.join(_ALLOWED)}" if meant else nearest(name, _ALLOWED)
    )
    raise UsageError(f"{key}={name} is no device: {hint}, and other numbers")


def canonical(name: str) -> str:
    """Return Theano's name of a device: `opencl` is its first platform's first device.

    Raises
    ------
    UsageError
        For a name that no device can have, or a GPU where the package that reaches one is not installed.
    """
    check_form(name)
    device = "opencl0:0" if name == "opencl" else name
    if device != "cpu" and importlib.util.find_spec("pygpu") is None:
        raise UsageError(
            f"device.name={name} cannot be used: the package pygpu (0.7, with libgpuarray) is not installed. "
            f"{_there_are()}. Install it (scripts/install-gpu in a checkout; Debian: python3-pygpu; "
            "conda: pygpu), or take device.name=cpu"
        )
    return device


def free_one(kind: str, cache: Path) -> str | None:
    """Take a device of a kind for this process, one that no other process on this machine has taken.

    The workers of a sweep thereby have a device each, whatever launched them. Where all are taken, the first
    one is shared.

    Parameters
    ----------
    kind : str
        `cuda` or `opencl`.
    cache : Path
        The compile cache's folder, where it is written down which ones are taken, until their processes end.

    Returns
    -------
    str or None
        Its name; None where there is none of this kind.
    """
    names = [name for name in available() if kind_of(name) == kind]
    folder = cache / "devices"
    folder.mkdir(parents=True, exist_ok=True)
    # By this variable CUDA numbers the devices that it shows anew.
    shown = digest(os.environ.get("CUDA_VISIBLE_DEVICES"))
    for name in names:
        file = (folder / f"{name.replace(':', '-')}-{shown}.taken").open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            continue
        _taken.append(file)
        return name
    return names[0] if names else None


def kind_of(device: str) -> str:
    """Return `cpu`, `cuda` or `opencl` for a device's canonical name.

    >>> kind_of("opencl0:1")
    'opencl'
    """
    return device.rstrip("0123456789:")


def confirm(device: str, complaint: str, provide: Callable[[str], None] = lambda kind: None) -> str:
    """Return what the active device calls itself, once Theano is imported.

    Parameters
    ----------
    device : str
        The canonical name.
    complaint : str
        What Theano logged while it started the device.
    provide : callable, optional
        As for `available`.

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
    if "preallocate" in complaint:
        raise UsageError(
            f"device.preallocate is more than device.name={device} has free ({complaint}): give less, or 0 "
            "to take memory as it is needed"
        )
    raise UsageError(
        f"device.name={device} could not be started ({complaint or 'Theano gives no reason'}). "
        f"{_there_are(provide)}. Take one of them, or {_cure(device, complaint)} and look with "
        f"trainer-doctor --device {device}"
    )


def _cure(device: str, complaint: str) -> str:
    lacks = device_libraries.lacking() if kind_of(device) == "cuda" else {}
    if lacks:
        return device_libraries.cure(lacks)
    return "free its memory" if "memory" in complaint else "mend the driver"


def available(provide: Callable[[str], None] = lambda kind: None) -> list[str]:
    """Return the names of the devices that this machine offers, `cpu` first.

    Parameters
    ----------
    provide : callable, optional
        Has the libraries of a kind of device found, given `cuda` or `opencl`.
    """
    found = ["cpu"]
    try:
        gpuarray: Any = importlib.import_module("pygpu.gpuarray")
    except ImportError:
        return found
    for kind in ("cuda", "opencl"):
        # A driver that is missing or broken says so in many ways, and offers no device in all of them.
        try:
            provide(kind)
            if kind == "cuda":
                found += [f"cuda{number}" for number in range(gpuarray.count_devices("cuda", 0))]
            else:
                for platform in range(gpuarray.count_platforms("opencl")):
                    devices = range(gpuarray.count_devices("opencl", platform))
                    found += [f"opencl{platform}:{number}" for number in devices]
        except Exception:
            continue
    return found


def describe(device: str) -> str:
    """Return the platform, name and memory of the device that Theano computes on in this process."""
    gpuarray: Any = importlib.import_module("theano.gpuarray")
    context = gpuarray.init_dev.devmap[device]
    platform = _platform(int(device[len("opencl") :].partition(":")[0])) if "opencl" in device else "CUDA"
    return f"{platform}: {context.devname}, {context.total_gmem / 2**30:.1f} GiB"


def free_memory(device: str) -> int | None:
    """Return the bytes that one array on the device may take now; None for the CPU."""
    if device == "cpu":
        return None
    gpuarray: Any = importlib.import_module("theano.gpuarray")
    context = gpuarray.init_dev.devmap[device]
    return min(int(context.free_gmem), int(context.largest_memblock))


def _platform(number: int) -> str:
    """Return the name of an OpenCL platform, which pygpu does not tell."""
    try:
        library = ctypes.CDLL("libOpenCL.so.1")
    except OSError:
        return "OpenCL"
    platforms = (ctypes.c_void_p * (number + 1))()
    text = ctypes.create_string_buffer(256)
    name = 0x0902  # CL_PLATFORM_NAME
    if library.clGetPlatformIDs(number + 1, platforms, None):
        return "OpenCL"
    handle = ctypes.c_void_p(platforms[number])
    if library.clGetPlatformInfo(handle, name, ctypes.c_size_t(len(text)), text, None):
        return "OpenCL"
    return text.value.decode(errors="replace")


def _there_are(provide: Callable[[str], None] = lambda kind: None) -> str:
    return f"Devices that there are: {', '.join(available(provide))}"
