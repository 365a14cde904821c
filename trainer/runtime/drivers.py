"""What drivers say of their devices: platform, name and memory, also where nothing can be computed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

_ALL = ctypes.c_ulong(0xFFFFFFFF)  # CL_DEVICE_TYPE_ALL
_PLATFORM_NAME, _DEVICE_NAME, _DEVICE_MEMORY = 0x0902, 0x102B, 0x101F
_MOST = 64  # platforms, and devices of one
_LONGEST = 256


@dataclass(frozen=True)
class Platform:
    """An OpenCL platform.

    Attributes
    ----------
    name : str
        What it calls itself.
    devices : tuple of str
        Each device's name and memory, in the driver's order.
    """

    name: str
    devices: tuple[str, ...]


def describe(device: str) -> str:
    """Return a device's platform, name and memory; empty where its driver does not tell.

    Parameters
    ----------
    device : str
        `cudaN` or `openclP:D`.
    """
    if device.startswith("cuda"):
        told = _cuda(int(device[len("cuda") :] or 0))
        return f"CUDA: {told}" if told else ""
    numbers = device[len("opencl") :].partition(":")
    number, place = int(numbers[0]), int(numbers[2])
    platforms = opencl_platforms()
    if number >= len(platforms) or place >= len(platforms[number].devices):
        return ""
    return f"{platforms[number].name}: {platforms[number].devices[place]}"


def opencl_platforms() -> list[Platform]:
    """Return the OpenCL platforms of this machine, also those without devices; none without a loader."""
    library = _load("libOpenCL.so.1")
    if library is None:
        return []
    handles, count = (ctypes.c_void_p * _MOST)(), ctypes.c_uint()
    if library.clGetPlatformIDs(_MOST, handles, ctypes.byref(count)):
        return []
    return [_platform(library, ctypes.c_void_p(handle)) for handle in handles[: count.value]]


def _platform(library: Any, handle: ctypes.c_void_p) -> Platform:
    name = _text(library.clGetPlatformInfo, handle, _PLATFORM_NAME) or "OpenCL"
    handles, count = (ctypes.c_void_p * _MOST)(), ctypes.c_uint()
    if library.clGetDeviceIDs(handle, _ALL, _MOST, handles, ctypes.byref(count)):
        return Platform(name, ())
    devices = []
    for each in map(ctypes.c_void_p, handles[: count.value]):
        memory = ctypes.c_uint64()
        library.clGetDeviceInfo(each, _DEVICE_MEMORY, ctypes.c_size_t(8), ctypes.byref(memory), None)
        devices.append(_line(_text(library.clGetDeviceInfo, each, _DEVICE_NAME), memory.value))
    return Platform(name, tuple(devices))


def _cuda(number: int) -> str:
    library = _load("libcuda.so.1") or _load("libcuda.so")
    name, memory, handle = ctypes.create_string_buffer(_LONGEST), ctypes.c_size_t(), ctypes.c_int()
    try:
        if (
            library is None
            or library.cuInit(0)
            or library.cuDeviceGet(ctypes.byref(handle), number)
            or library.cuDeviceGetName(name, _LONGEST, handle)
            or library.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
        ):
            return ""
    except AttributeError:  # A driver without one of these functions is too old to be told of.
        return ""
    return _line(name.value.decode(errors="replace"), memory.value)


def _line(name: str, memory: int) -> str:
    return f"{name}, {memory / 2**30:.1f} GiB"


def _text(ask: Any, handle: ctypes.c_void_p, what: int) -> str:
    text = ctypes.create_string_buffer(_LONGEST)
    if ask(handle, what, ctypes.c_size_t(_LONGEST), text, None):
        return ""
    return text.value.decode(errors="replace").strip()


def _load(name: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
