"""Arrays in safetensors files: written in one pass with their checksum, read with every claim checked."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainer.checkpoints.exact_json import from_exact_json
from trainer.loggers.atomic import replace_file

Array = NDArray[Any]

DTYPES = {
    "BOOL": np.dtype("?"),
    **{f"{kind}{8 * size}": np.dtype(f"<{kind.lower()}{size}") for kind in "IU" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LONGEST_HEADER = 100_000_000
_CHUNK = 2**24


def save_tensors(path: Path, tensors: Mapping[str, Array]) -> str:
    """Write a safetensors file durably, replacing one that is there whole or not at all; return its SHA-256.

    Raises
    ------
    OSError
        The folder cannot be written, or the disk is full.
    """
    return replace_file(path, lambda file: write_tensors(file, tensors))


def write_tensors(file: BinaryIO, tensors: Mapping[str, Array]) -> str:
    """Write arrays to an open file in the format of safetensors.

    Parameters
    ----------
    file : binary file
        Open for writing.
    tensors : mapping of str to array
        Of booleans, whole numbers of up to 64 bits or floats of 16 to 64 bits, of any shape and layout.

    Returns
    -------
    str
        The SHA-256 of what was written, in hexadecimal.

    Raises
    ------
    TypeError
        An array of another dtype.
    """
    # Large numbers first, so that each array lies at a multiple of its numbers' size.
    names = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)
    header, end = {}, 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {**describe(name, tensors[name]), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    for piece in (len(text).to_bytes(8, "little"), text):
        digest.update(piece)
        file.write(piece)
    for name in names:
        array = np.asarray(tensors[name], tensors[name].dtype.newbyteorder("<"), order="C")
        view = array.reshape(-1).view(np.uint8).data
        for at in range(0, len(view), _CHUNK):
            digest.update(view[at : at + _CHUNK])
            file.write(view[at : at + _CHUNK])
    return digest.hexdigest()


def describe(name: str, array: Array) -> dict[str, Any]:
    """Return an array's dtype and shape as safetensors names them.

    Raises
    ------
    TypeError
        An array of a dtype that the format has no name for here.
    """
    dtype = _NAMES.get(array.dtype.newbyteorder("<"))
    if dtype is None or name == "__metadata__":
        raise TypeError(f"the array {name!r} of {array.dtype} has no place in a safetensors file")
    return {"dtype": dtype, "shape": list(array.shape)}


def read_tensors(file: BinaryIO) -> dict[str, Array]:
    """Read the arrays of an open safetensors file, from its beginning.

    Raises
    ------
    ValueError
        The file is not sound; the message says what is wrong, as “has ...” or “is ...”.
    OSError
        It cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    header, begin = _read_header(file, size)
    spans = {name: _span(name, entry) for name, entry in header.items() if name != "__metadata__"}
    _check_spans([(first, last) for _, _, first, last in spans.values()], size - begin)
    return {name: _read_array(file, name, begin, span) for name, span in spans.items()}


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _LONGEST_HEADER):
        raise ValueError(f"is truncated: its header shall have {length} bytes, and the file has {size}")
    try:
        header = from_exact_json(file.read(length))
    except ValueError as error:
        raise ValueError(f"has a malformed header ({error})") from error
    if not isinstance(header, dict):
        raise ValueError("has a header that is no JSON object")
    return header, 8 + length


def _span(name: str, entry: Any) -> tuple[np.dtype[Any], list[int], int, int]:
    problem = ValueError(f"has a malformed entry for {name!r}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise problem
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not (_is_whole_numbers(shape) and _is_whole_numbers(offsets) and len(offsets) == 2):
        raise problem
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        raise ValueError(f"has {name!r} in the dtype {entry['dtype']!r}; known are {', '.join(DTYPES)}")
    dtype = DTYPES[entry["dtype"]]
    first, last = offsets
    if last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"has {name!r} in another number of bytes than its shape needs")
    return dtype, shape, first, last


def _is_whole_numbers(value: Any) -> bool:
    # NumPy has up to 32 axes; a product of longer shapes would only cost time.
    return (
        isinstance(value, list)
        and len(value) <= 32
        and all(type(number) is int and 0 <= number < 2**63 for number in value)
    )


def _check_spans(spans: list[tuple[int, int]], size: int) -> None:
    end = 0
    for first, last in sorted(spans):
        if first != end:
            raise ValueError("has arrays that overlap or leave a gap")
        end = last
    if end != size:
        raise ValueError(f"has {size} bytes of numbers, and its header describes {end}")


def _read_array(
    file: BinaryIO, name: str, begin: int, span: tuple[np.dtype[Any], list[int], int, int]
) -> Array:
    dtype, shape, first, last = span
    numbers = np.empty(last - first, np.uint8)
    file.seek(begin + first)
    view, done = numbers.data, 0
    while done < len(view):
        count = file.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("is truncated")
        done += count
    if dtype.kind == "b" and (numbers > 1).any():
        raise ValueError(f"has {name!r} with booleans that are neither 0 nor 1")
    try:
        return numbers.view(dtype).reshape(shape)
    except ValueError as error:  # more axes, or longer ones, than NumPy has
        raise ValueError(f"has {name!r} in a shape that cannot be") from error
