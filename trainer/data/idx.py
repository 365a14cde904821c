"""Reading IDX files, the format of MNIST and its kin.

Two zero bytes, a byte for the kind of number, a byte for the number of dimensions, a big-endian 32-bit length
for each dimension, then the numbers in C order, big-endian. The file may be compressed with gzip, whatever
its name.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.errors import UsageError

_KINDS = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MARK = b"\x1f\x8b"
_CHUNK = 1 << 20


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_idx(path: Path) -> NDArray[Any]:
    """Read one IDX file, gzipped or not.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    array
        Of the shape and the kind of number that the file's head states; it may be read-only.

    Raises
    ------
    UsageError
        Where the file cannot be read, is no IDX file, is damaged, ends early or goes on after its end. The
        message names the file and the place.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MARK
            raw.seek(0)
            if not compressed:
                return _read(raw, path)
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(unpacked, path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(
            f"{path}: the gzip data is damaged or cut short ({error}); fetch the file anew"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read(stream: _Stream, path: Path) -> NDArray[Any]:
    kind, shape = _read_head(stream, path)
    length = int(np.prod(shape, dtype=object)) * kind.itemsize
    content = _read_at_most(stream, length + 1)
    if len(content) != length:
        found = "more follow" if len(content) > length else f"the file ends after {len(content):,}"
        raise UsageError(
            f"{path}: its head announces {' × '.join(map(str, shape))} numbers, {length:,} bytes after "
            f"the head, but {found}; fetch the file anew"
        )
    return np.frombuffer(content, kind).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def _read_head(stream: _Stream, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _KINDS or magic[3] == 0:
        raise UsageError(
            f"{path}: is no IDX file: its first four bytes are {magic.hex(' ') or 'missing'}, "
            "where two zeros, the kind of number (08, 09, 0b, 0c, 0d or 0e) and the number of dimensions "
            "belong"
        )
    dimensions = magic[3]
    lengths = stream.read(4 * dimensions)
    if len(lengths) < 4 * dimensions:
        raise UsageError(
            f"{path}: ends at byte {4 + len(lengths)}, within the lengths of its {dimensions} dimensions; "
            "fetch the file anew"
        )
    return np.dtype(_KINDS[magic[2]]), struct.unpack(f">{dimensions}I", lengths)


def _read_at_most(stream: _Stream, length: int) -> bytearray:
    """Read in chunks: a head that lies about its lengths must not claim the memory it announces."""
    content = bytearray()
    while len(content) < length and (chunk := stream.read(min(_CHUNK, length - len(content)))):
        content += chunk
    return content
