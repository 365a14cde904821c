"""Reading tables from files: CSV by the standard library, Parquet by pyarrow.

CSV needs nothing more than that: Python's own reader tells the line of each row, which a person needs to find
a broken one, and NumPy parses the columns.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.columns import Column, Table, number_text
from trainer.errors import UsageError

_GZIP_MARK = b"\x1f\x8b"


def read_csv(path: Path, separator: str = ",", header: bool = True, encoding: str = "utf-8") -> Table:
    """Read a CSV file, gzipped or not; quotes are `"`, blank lines are passed over.

    Parameters
    ----------
    path : Path
        The file.
    separator : str, default ","
        One character.
    header : bool, default True
        Whether the first row holds the names of the columns; otherwise they are called 1, 2, 3, ...
    encoding : str, default "utf-8"
        Of the text; a byte-order mark is passed over.

    Raises
    ------
    UsageError
        Where the file cannot be read, is not of the encoding, has no rows, or a row has more or fewer cells
        than the first one; the message names the file and the line.
    """
    if len(separator) != 1 or separator in '"\r\n':
        raise UsageError(
            f"data.separator={separator!r} is not allowed: give one character, as in ',' or '\\t'"
        )
    reader = csv.reader(io.StringIO(_text(path, encoding), newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    line = 0
    try:
        for row in reader:
            # A quoted cell may go over several lines; a row is where it begins.
            begin, line = line + 1, reader.line_num
            if row:
                rows.append(row)
                lines.append(begin)
    except csv.Error as error:
        raise UsageError(f"{path}, line {line + 1}: is no sound CSV ({error})") from error
    if not rows:
        raise UsageError(f"{path}: is empty; give a file with a row of names and rows of values")
    _check_widths(path, rows, lines)
    names = [name.strip() for name in rows[0]] if header else [str(k + 1) for k in range(len(rows[0]))]
    _check_names(path, names)
    return _table(path, names, rows[header:], lines[header:])


def read_parquet(path: Path) -> Table:
    """Read a Parquet file: numbers and truth values as numbers, all else as texts.

    Raises
    ------
    UsageError
        Where pyarrow is not installed, the file cannot be read or is no sound Parquet file.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet files are read by pyarrow, which is not to be had ({error}): "
            "pip install 'theano-trainer[tables]'"
        ) from error
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        table = parquet.read_table(path, partitioning=None)
        table.validate(full=True)
        names = table.column_names
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path}: is no sound Parquet file ({reason}); write or fetch it anew") from error
    _check_names(path, names)
    return Table(str(path), {name: _parquet_column(path, name, table.column(name)) for name in names})


def _text(path: Path, encoding: str) -> str:
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MARK):
            content = gzip.decompress(content)
        if content.startswith(b"\xef\xbb\xbf"):
            content = content[3:]
        return content.decode(encoding)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(
            f"{path}: the gzip data is damaged or cut short ({error}); fetch the file anew"
        ) from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    except LookupError as error:
        raise UsageError(
            f"data.encoding={encoding} is not known: give utf-8 or latin-1, for example"
        ) from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}, line {line}: byte {error.start} is no {encoding} text; "
            "name the file's encoding by data.encoding, latin-1 for example"
        ) from error


def _check_widths(path: Path, rows: list[list[str]], lines: list[int]) -> None:
    width = len(rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            raise UsageError(
                f"{path}, line {line}: has {len(row)} cells, but line {lines[0]} has {width}; mend it, or "
                "name the character between the cells by data.separator"
            )


def _check_names(path: Path, names: list[str]) -> None:
    for name, count in Counter(names).items():
        if not name:
            raise UsageError(
                f"{path}: column {names.index(name) + 1} has no name; name it, or say data.header=false"
            )
        if count > 1:
            raise UsageError(f"{path}: {count} columns are named {name!r}; give each a name of its own")


def _table(path: Path, names: list[str], rows: list[list[str]], lines: list[int]) -> Table:
    def column(place: int) -> Column:
        name = names[place]
        return Column([row[place] for row in rows], lambda row: f"{path}, line {lines[row]}, column {name!r}")

    return Table(str(path), {name: column(place) for place, name in enumerate(names)})


def _parquet_column(path: Path, name: str, column: Any) -> Column:
    from pyarrow import ArrowException, types

    def at(row: int) -> str:
        return f"{path}, row {row + 1:,}, column {name!r}"

    kind = column.type
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        if column.null_count:
            return Column([None if value is None else number_text(value) for value in column.to_pylist()], at)
        return Column(np.array(column.cast("float64").to_numpy()), at)
    try:
        return Column(column.cast("string").to_pylist(), at)
    except ArrowException:
        # No column that is used: where it is, the message tells its kind.
        return Column([str(kind)] * len(column), at)
