"""Kernels of a device: written for OpenCL and CUDA alike, compiled once a process, launched from Python."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pygpu import gpuarray

# A thread has one element: with a loop over several, PoCL's kernels do not use vectors. An operation's
# elements are few enough for 32 bits, in which divisions are quick on devices.
_COMMON = """
#include "cluda.h"
#define EACH(k, n) const ga_uint k = GID_0 * LDIM_0 + LID_0; if (k < (n))
"""
# Names of NumPy's types, and what NVRTC has no header for.
_SPOKEN = {
    "npy_bool": "ga_bool",
    "npy_int8": "ga_byte",
    "npy_uint8": "ga_ubyte",
    "npy_int16": "ga_short",
    "npy_uint16": "ga_ushort",
    "npy_int32": "ga_int",
    "npy_uint32": "ga_uint",
    "npy_int64": "ga_long",
    "npy_uint64": "ga_ulong",
    "npy_float32": "ga_float",
    "npy_float64": "ga_double",
    "NAN": "(0.0f / 0.0f)",
    "INFINITY": "(1.0f / 0.0f)",
}
_GROUP = 256  # threads of a work group, where the device allows as many
_WORD = re.compile(rf"\b({'|'.join(_SPOKEN)})\b")
_known: dict[tuple[int, str], Any] = {}


@dataclass(frozen=True)
class Argument:
    """What a kernel is given: a number, or an array.

    Parameters
    ----------
    name : str
        In the kernel's text.
    dtype : str
        NumPy's name of its type.
    is_array : bool, default True
        Whether it is an array of such numbers.
    """

    name: str
    dtype: str
    is_array: bool = True

    @property
    def declared(self) -> str:
        """How the kernel's head says it; where an array begins in its memory is told apart."""
        if not self.is_array:
            return f"const npy_{self._number} {self.name}"
        return f"GLOBAL_MEM npy_{self.dtype} *{self.name}, const ga_size {self.name}_from"

    @property
    def begun(self) -> str:
        """What has to be done with it before it is used."""
        if not self.is_array:
            return ""
        moved = f"(GLOBAL_MEM char*){self.name} + {self.name}_from"
        return f"    {self.name} = (GLOBAL_MEM npy_{self.dtype}*)({moved});\n"

    @property
    def types(self) -> list[Any]:
        """Its types for libgpuarray."""
        return [gpuarray.GpuArray, gpuarray.SIZE] if self.is_array else [self._number]

    @property
    def _number(self) -> str:
        # libgpuarray hands no truth values over.
        return "int32" if self.dtype == "bool" else self.dtype


def counts(*names: str) -> tuple[Argument, ...]:
    """Give arguments that are whole numbers of 32 bits."""
    return tuple(Argument(name, "uint32", is_array=False) for name in names)


def divisor(name: str) -> tuple[str, str, str]:
    """Give the names of the numbers by which a kernel divides, `counts` of `quotient`.

    Devices divide slowly, and PoCL's without vectors.
    """
    return name, f"{name}_factor", f"{name}_shift"


def divided(k: str, by: str) -> str:
    """Write the quotient of a name and a divisor, without the remainder."""
    return f"(ga_uint)((ga_ulong){k} * {by}_factor >> {by}_shift)"


def quotient(by: int) -> list[int]:
    """Give the numbers for `divisor`: d, and m and s by which k / d is k · m >> s, exactly for k below 2³¹.

    With 2^(l-1) < d ≤ 2^l, s = 31 + l and m = ⌈2^s / d⌉: m d - 2^s < d ≤ 2^l, so the product is too large by
    less than 2^s / d. m is below 2³².

    >>> d, m, s = quotient(7)
    >>> [k * m >> s for k in (0, 6, 7, 2**31 - 1)]
    [0, 0, 1, 306783378]
    """
    d = max(by, 1)
    shift = 31 + (d - 1).bit_length()
    return [d, -(-(1 << shift) // d), shift]


def check_size(array: Any) -> None:
    """Refuse an array of more elements than `divided` and `EACH` can count."""
    if array.size >= 1 << 31:
        raise ValueError(f"an array of the shape {array.shape} is too large for a kernel of 2³¹ elements")


@dataclass(frozen=True)
class DeviceKernel:
    """A kernel's text.

    Parameters
    ----------
    name : str
        Of its function.
    arguments : tuple of Argument
        What it is given.
    body : str
        What the function does with it, in C with NumPy's names of types. ``EACH(k, n) {…}``, of which it
        may have one, is done for the numbers below n.
    functions : str, default ""
        What stands before the function.
    """

    name: str
    arguments: tuple[Argument, ...]
    body: str
    functions: str = ""

    @cached_property
    def text(self) -> str:
        """The whole text."""
        head = ", ".join(each.declared for each in self.arguments)
        begin = "".join(each.begun for each in self.arguments)
        text = f"{_COMMON}{self.functions}\nKERNEL void {self.name}({head}) {{\n{begin}{self.body}}}\n"
        return _WORD.sub(lambda word: _SPOKEN[word[0]], text)

    def compiled(self, context: Any) -> Any:
        """Give what launches it on a device, compiled where it is not yet."""
        text = self.text
        key = id(context), text
        if key not in _known:
            _known[key] = gpuarray.GpuKernel(
                text,
                self.name,
                [type_ for each in self.arguments for type_ in each.types],
                context=context,
                have_double="ga_double" in text,
                have_small=any(small in text for small in ("ga_bool", "byte", "short")),
            )
        return _known[key]


def launch(kernel: Any, threads: int, numbers: Sequence[Any], arrays: Sequence[Any]) -> None:
    """Launch a compiled kernel.

    Parameters
    ----------
    kernel : pygpu.gpuarray.GpuKernel
        Compiled; its numbers come before its arrays.
    threads : int
        How many threads have something to do. Where it is 0, nothing is launched.
    numbers : sequence of numbers
        Its numbers.
    arrays : sequence of arrays, or of pairs
        Each array; or an array, and how many bytes behind its beginning the kernel is to begin.
    """
    if threads:
        group = min(_GROUP, kernel.maxlsize)
        kernel(*_given(numbers, arrays), gs=-(-threads // group), ls=group)


def launch_groups(kernel: Any, across: int, rows: int, numbers: Sequence[Any], arrays: Sequence[Any]) -> None:
    """Launch a compiled kernel in work groups of rows of threads.

    Parameters
    ----------
    kernel, numbers, arrays
        As for `launch`.
    across : int
        Threads of a row.
    rows : int
        How many rows there are to be at least: the row of a thread is ``GID_0 * LDIM_1 + LID_1``.
    """
    high = min(_GROUP, kernel.maxlsize) // across
    kernel(*_given(numbers, arrays), gs=(-(-rows // high), 1), ls=(across, high))


def _given(numbers: Sequence[Any], arrays: Sequence[Any]) -> list[Any]:
    given = list(numbers)
    for each in arrays:
        array, behind = each if isinstance(each, tuple) else (each, 0)
        given += (array, array.offset + behind)
    return given
