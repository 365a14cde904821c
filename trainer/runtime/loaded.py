"""Which file a symbol of a loaded library really comes from."""

from __future__ import annotations

import ctypes
import os


class _DlInfo(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def source(library: ctypes.CDLL, symbol: str) -> str | None:
    """Return the file in which `library` or one of its dependencies has `symbol`; None where none has."""
    try:
        function = getattr(library, symbol)
    except AttributeError:
        return None
    information = _DlInfo()
    dladdr = ctypes.CDLL(None).dladdr
    dladdr.argtypes = (ctypes.c_void_p, ctypes.POINTER(_DlInfo))
    if not dladdr(ctypes.cast(function, ctypes.c_void_p), ctypes.byref(information)) or not information.file:
        return None
    return os.path.realpath(os.fsdecode(information.file))
