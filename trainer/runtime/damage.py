"""Compiled modules that a crash or a full disk left cut short, removed before Theano loads them.

The system's loader maps a library before it has seen the whole of it: one that is cut short may end the
process without a word. What is removed here is compiled anew.
"""

from __future__ import annotations

import logging
import shutil
import struct
import time
from pathlib import Path

from trainer.errors import UsageError

log = logging.getLogger(__name__)

# Theano's own modules, at a place that each compiledir has once.
_FIXED = ("lazylinker_ext", "cutils_ext", "scan_perform")
# One that is younger may be in the making by another process.
_SETTLED_SECONDS = 60.0

_ELF_64 = b"\x7fELF\x02\x01"
_HEADER_BYTES, _SECTION_BYTES = 64, 64
_STRING_TABLE = 3


def remove_damaged(cache: Path) -> list[Path]:
    """Remove the modules of a compile cache that are cut short or overwritten by zeros at their end.

    Parameters
    ----------
    cache : Path
        The cache's folder, with a folder for each version of Python and system.

    Returns
    -------
    list of Path
        What was damaged.

    Raises
    ------
    UsageError
        Where one cannot be removed.
    """
    damaged = [path for path in _libraries(cache) if not is_whole(path)]
    for path in damaged:
        try:
            if path.parent == cache / "probes":
                path.unlink()
            else:
                # All of it: what else there is says that the module is there.
                shutil.rmtree(path.parent)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(
                f"the compile cache is damaged, and {path} cannot be deleted ({error.strerror}): delete it, "
                "or give another folder by device.compile_cache=..."
            ) from error
    if damaged:
        log.warning(
            "the compile cache %s has damaged modules, %d in number: they are compiled anew",
            cache,
            len(damaged),
        )
    return damaged


def is_whole(path: Path) -> bool:
    """Tell whether a library has the end that its beginning promises; True where its format is not known.

    The table of an ELF library's sections stands at its end, and names there one that holds the names.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
            if not head.startswith(_ELF_64):
                return bool(head) and head.count(0) != len(head)
            if len(head) < _HEADER_BYTES:
                return False
            (table,) = struct.unpack_from("<Q", head, 40)
            size, count, names = struct.unpack_from("<HHH", head, 58)
            file.seek(table + size * (count - 1))
            if len(file.read(_SECTION_BYTES)) < _SECTION_BYTES:
                return False
            file.seek(table + size * names)
            _, kind, *_, alignment, _ = struct.unpack("<IIQQQQIIQQ", file.read(_SECTION_BYTES))
            return bool(kind == _STRING_TABLE and alignment)
    except struct.error:
        return False
    except OSError:
        return True


def _libraries(cache: Path) -> list[Path]:
    """Return the libraries that Theano or we would load, without those that may be in the making."""
    found = [path for path in cache.glob("*/tmp*/*.so") if (path.parent / "key.pkl").exists()]
    fixed = [path for name in _FIXED for path in cache.glob(f"*/{name}/*.so")]
    return found + [path for path in (*fixed, *(cache / "probes").glob("*.so")) if _is_settled(path)]


def _is_settled(path: Path) -> bool:
    try:
        return abs(time.time() - path.stat().st_mtime) > _SETTLED_SECONDS
    except OSError:
        return False
