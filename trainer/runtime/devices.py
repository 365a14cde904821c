"""The devices: how they are called, and whether Theano really has the one that was asked for."""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from trainer.errors import UsageError, nearest
from trainer.runtime import device_libraries
from trainer.runtime.remembered import digest

log = logging.getLogger(__name__)

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
    if names:
        log.warning(
            "device.name=%s: other runs on this machine have taken %s; sharing %s, which slows all and "
            "divides its memory: start no more workers than devices, or wait",
            kind,
            ", ".join(names),
            names[0],
        )
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
    raise UsageError(_why_not(device, complaint, provide))


def _why_not(device: str, complaint: str, provide: Callable[[str], None]) -> str:
    """Say in a sentence why Theano went on without a device, and what helps."""
    if broken := import_failure():
        return (
            f"device.name={device} cannot be used: pygpu is installed and cannot be imported ({broken}). "
            f"{_there_are(provide)}. Bring what it lacks (scripts/install-gpu in a checkout; Debian: "
            "libgpuarray3), or take device.name=cpu"
        )
    if "preallocate" in complaint:
        return (
            f"device.preallocate is more than device.name={device} has free ({complaint}): give less, or 0 "
            "to take memory as it is needed"
        )
    if lacks := device_libraries.lacking(kind_of(device)):
        cure = f"install what is missing ({lacks})"
    else:
        cure = "free its memory" if "memory" in complaint else "mend the driver"
        cure += f" and look with trainer-doctor --device {device}"
    return (
        f"device.name={device} could not be started ({complaint or 'Theano gives no reason'}). "
        f"{_there_are(provide)}. Take one of them, or {cure}"
    )


def import_failure() -> str:
    """Return why pygpu, which is installed, cannot be imported; empty where it can."""
    try:
        importlib.import_module("pygpu.gpuarray")
    except ImportError as error:
        return " ".join(str(error).split())
    return ""


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
        provide(kind)
    found += [f"cuda{number}" for number in range(_counted(gpuarray.count_devices, "cuda", 0))]
    for platform in range(_counted(gpuarray.count_platforms, "opencl")):
        numbers = range(_counted(gpuarray.count_devices, "opencl", platform))
        found += [f"opencl{platform}:{number}" for number in numbers]
    return found


def _counted(count: Callable[..., int], *what: str | int) -> int:
    # A driver that is missing or broken, or a platform without devices, says so in many ways, and offers
    # nothing in all of them; other platforms may have devices all the same.
    try:
        return count(*what)
    except Exception:
        return 0


def free_memory(device: str) -> int | None:
    """Return the bytes that one array on the device may take now; None for the CPU."""
    if device == "cpu":
        return None
    gpuarray: Any = importlib.import_module("theano.gpuarray")
    context = gpuarray.init_dev.devmap[device]
    return min(int(context.free_gmem), int(context.largest_memblock))


def _there_are(provide: Callable[[str], None] = lambda kind: None) -> str:
    return f"Devices that there are: {', '.join(available(provide))}"
