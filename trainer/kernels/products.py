"""Matrix products of NumPy arrays in the library that Theano uses.

NumPy brings a library of its own, with threads of its own: two crews on the same cores get in each other's
way, and NumPy's does not follow `device.threads`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer import runtime

Array = NDArray[Any]

_LETTERS = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}
_SCALARS: dict[str, Any] = {"s": ctypes.c_float, "d": ctypes.c_double}
_INT = ctypes.POINTER(ctypes.c_int)


def add_product(
    a: Array, b: Array, out: Array, *, transpose_a: bool = False, transpose_b: bool = False
) -> None:
    """Add the matrix product a · b to `out`, in place.

    Parameters
    ----------
    a : array, (m, k), or (k, m) with `transpose_a`
        The left factor.
    b : array, (k, n), or (n, k) with `transpose_b`
        The right factor.
    out : array, (m, n)
        What is added to. All three are of one dtype, float32 or float64, and C-contiguous; otherwise the
        product is NumPy's.
    transpose_a, transpose_b : bool, default False
        Whether the factor is to be transposed first.
    """
    letter = _LETTERS.get(out.dtype)
    function = _gemm(letter) if letter else None
    contiguous = all(matrix.flags.c_contiguous and matrix.dtype == out.dtype for matrix in (a, b, out))
    if function is None or not contiguous:
        out += np.dot(a.T if transpose_a else a, b.T if transpose_b else b)
        return
    if not (a.size and b.size):
        return
    rows, columns = out.shape
    one = _SCALARS[letter or "d"](1)
    number = ctypes.c_int
    # The library counts columns first, so it sees each matrix transposed, and computes outᵀ = bᵀ · aᵀ.
    function(
        b"T" if transpose_b else b"N",
        b"T" if transpose_a else b"N",
        number(columns),
        number(rows),
        number(a.shape[0] if transpose_a else a.shape[1]),
        one,
        b.ctypes.data,
        number(b.shape[1]),
        a.ctypes.data,
        number(a.shape[1]),
        one,
        out.ctypes.data,
        number(columns),
    )


@cache
def _gemm(letter: str) -> Callable[..., None] | None:
    """Return the library's function; None where Theano was made ready by someone else."""
    ready = runtime.current()
    if ready is None:
        return None
    function = getattr(ctypes.CDLL(ready.blas.file), f"{ready.blas.prefix}{letter}gemm_", None)
    if function is None:
        return None
    scalar, address = ctypes.POINTER(_SCALARS[letter]), ctypes.c_void_p
    function.restype = None
    function.argtypes = (
        *(ctypes.c_char_p, ctypes.c_char_p, _INT, _INT, _INT),
        *(scalar, address, _INT, address, _INT, scalar, address, _INT),
    )
    return function  # type: ignore[no-any-return]
