"""Schedules that change at given times."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ._common import Schedule, between, check_choice, check_finite, check_growing, check_positive, due, whole

INTERPOLATIONS = ("held", "linear")
MOST_BYTES = 16 * 1024 * 1024


def step(initial: float, every: float, factor: float = 0.1) -> Schedule:
    """Multiply the value by a factor at regular times.

    The value at time t is ``initial * factor ** floor(t / every)``.

    Parameters
    ----------
    initial : float
        The value until `every`.
    every : float
        The time between two changes, above 0.
    factor : float, default 0.1
        What the value is multiplied by, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `every` or `factor` is not above 0.

    Examples
    --------
    >>> value = step(8.0, every=2, factor=0.5)
    >>> [value(time) for time in range(6)]
    [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]
    """
    check_positive(every=every, factor=factor)
    return lambda time: float(initial * factor ** whole(time / every))


def multistep(initial: float, milestones: Sequence[float], factor: float = 0.1) -> Schedule:
    """Multiply the value by a factor at given times.

    The value at time t is ``initial * factor ** n``, n being the number of milestones up to t.

    Parameters
    ----------
    initial : float
        The value until the first milestone.
    milestones : sequence of float
        The times of the changes, each later than the one before.
    factor : float, default 0.1
        What the value is multiplied by at each, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where the milestones do not grow, or `factor` is not above 0.

    Examples
    --------
    >>> value = multistep(1.0, milestones=[2, 5], factor=0.5)
    >>> [value(time) for time in range(7)]
    [1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]
    """
    check_positive(factor=factor)
    check_growing("milestones", milestones)
    moments = [due(moment) for moment in milestones]
    return lambda time: float(initial * factor ** bisect_right(moments, time))


def piecewise(
    initial: float,
    times: Sequence[float],
    values: Sequence[float],
    relative: bool = True,
    interpolation: Literal["held", "linear"] = "held",
) -> Schedule:
    """Take given values from given times on.

    The value at time t is that of the last of `times` up to t, and ``initial`` before the first of them. With
    the interpolation `linear` the value goes on a straight line from each point to the next, the first of
    which is ``initial`` at time 0, and stays after the last.

    Parameters
    ----------
    initial : float
        The value at time 0, unless `times` begins with 0.
    times : sequence of float
        From when each value holds, each later than the one before.
    values : sequence of float
        As many as there are times.
    relative : bool, default True
        Whether the values are multiples of `initial`, or stand for themselves.
    interpolation : {'held', 'linear'}
        Whether a value is held until the next, or leads to it.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where there are not as many values as times, where times do not grow, or a value is not finite.

    Examples
    --------
    >>> value = piecewise(1.0, times=[2, 4], values=[0.5, 0.1])
    >>> [value(time) for time in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]
    >>> value = piecewise(1.0, times=[2, 4], values=[0.5, 0.1], interpolation="linear")
    >>> [round(value(time), 2) for time in range(6)]
    [1.0, 0.75, 0.5, 0.3, 0.1, 0.1]
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    if len(times) != len(values) or not times:
        raise ValueError(f"times and values must be as many; there are {len(times)} and {len(values)}")
    check_growing("times", times)
    points = _points(initial, times, values, relative)
    if times[0] > 0:
        points.insert(0, (0.0, initial))
    return _through(points, interpolation)


def table(
    initial: float,
    file: Path,
    relative: bool = False,
    interpolation: Literal["held", "linear"] = "linear",
) -> Schedule:
    """Take the values of a CSV file of two columns, time and value.

    Between two rows the value goes on a straight line, or is held; before the first row it is that of the
    first, after the last that of the last.

    Parameters
    ----------
    initial : float
        The configured value, for values that are multiples of it.
    file : path
        A CSV file; a first row that holds no numbers is a heading, and empty lines are skipped.
    relative : bool, default False
        Whether the values are multiples of `initial`, or stand for themselves.
    interpolation : {'held', 'linear'}
        Whether a value is held until the next, or leads to it.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where the file cannot be read, and for a row that is none of two finite numbers, or whose time is not
        later than that before.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as written:
    ...     print("time,value", "0,1.0", "4,0.0", sep="\\n", file=written, flush=True)
    ...     value = table(0.1, written.name)
    >>> [value(time) for time in (0, 1, 2, 9)]
    [1.0, 0.75, 0.5, 0.0]
    """
    check_choice("interpolation", interpolation, INTERPOLATIONS)
    times, values = _read(Path(file))
    return _through(_points(initial, times, values, relative), interpolation)


def _points(
    initial: float, times: Sequence[float], values: Sequence[float], relative: bool
) -> list[tuple[float, float]]:
    for value in values:
        check_finite(values=value)
    scale = initial if relative else 1.0
    return [(float(time), scale * value) for time, value in zip(times, values, strict=True)]


def _through(points: Sequence[tuple[float, float]], interpolation: str) -> Schedule:
    moments = [due(time) for time, _ in points]
    last = len(points) - 1

    def value(time: float) -> float:
        place = max(bisect_right(moments, time) - 1, 0)
        begin, first = points[place]
        if interpolation == "held" or place == last or time <= begin:
            return first
        end, second = points[place + 1]
        return between(first, second, (time - begin) / (end - begin))

    return value


def _read(file: Path) -> tuple[list[float], list[float]]:
    times: list[float] = []
    values: list[float] = []
    try:
        if not file.is_file():
            raise ValueError(f"file={file}: there is no such file; give a CSV file of time,value")
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"file={file} is larger than {MOST_BYTES >> 20} MiB: give fewer rows")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            for row in reader:
                if not any(cell.strip() for cell in row):
                    continue
                point = _numbers(row)
                if point is None:
                    if reader.line_num == 1 and not any(map(_is_number, row)):
                        continue
                    raise ValueError(
                        f"file={file}, line {reader.line_num}: {','.join(row)[:60]} is not two numbers"
                    )
                if times and not point[0] > times[-1]:
                    raise ValueError(
                        f"file={file}, line {reader.line_num}: {row[0]} is not later than the time before"
                    )
                times.append(point[0])
                values.append(point[1])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"file={file} cannot be read as a CSV file of time,value ({error})") from error
    if not times:
        raise ValueError(f"file={file} has no rows: give lines of time,value")
    return times, values


def _numbers(row: Sequence[str]) -> tuple[float, float] | None:
    if len(row) != 2 or not all(map(_is_number, row)):
        return None
    time, value = map(float, row)
    return (time, value) if math.isfinite(time) and math.isfinite(value) else None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
