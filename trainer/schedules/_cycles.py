"""Schedules that go up and down."""

from __future__ import annotations

import math
from typing import Literal

from ._common import Schedule, between, check_choice, check_finite, check_not_negative, check_positive, whole


def cosine_restarts(
    initial: float, period: float, growth: float = 1.0, final: float = 0.0, factor: float = 1.0
) -> Schedule:
    """Follow a falling cosine again and again, each time from a warm restart.

    Cycle i, counted from 0, lasts ``period * growth ** i``. At the part u of it, from 0 to below 1, the value
    is ``final + (initial - final) * factor ** i * (1 + cos(pi * u)) / 2``.

    Parameters
    ----------
    initial : float
        The value at the beginning of the first cycle.
    period : float
        How long the first cycle lasts, above 0.
    growth : float, default 1.0
        How many times longer each cycle is than the one before, at least 1.
    final : float, default 0.0
        The value that each cycle ends at.
    factor : float, default 1.0
        What the height of the cycle is multiplied by at each restart, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `period` or `factor` is not above 0, or `growth` below 1.

    References
    ----------
    Loshchilov and Hutter (2016), SGDR: Stochastic gradient descent with warm restarts. arXiv:1608.03983.

    Examples
    --------
    >>> value = cosine_restarts(1.0, period=2, growth=2)
    >>> [round(value(time), 3) for time in range(8)]
    [1.0, 0.5, 1.0, 0.854, 0.5, 0.146, 1.0, 0.962]
    """
    check_positive(period=period, factor=factor)
    if not 1 <= growth < math.inf:
        raise ValueError(f"growth must be at least 1 and finite; it is {growth}")

    def value(time: float) -> float:
        if growth == 1.0:
            cycle = whole(time / period)
            begin, length = cycle * period, period
        else:
            # The first n cycles last period * (growth**n - 1) / (growth - 1) together.
            cycle = whole(math.log1p(time * (growth - 1.0) / period) / math.log(growth))
            length = period * growth**cycle
            begin = (length - period) / (growth - 1.0)
        done = min(max(time - begin, 0.0) / length, 1.0)
        height = (initial - final) * factor**cycle
        return float(final + height * 0.5 * (1.0 + math.cos(math.pi * done)))

    return value


def cyclic(
    initial: float,
    ratio: float,
    up: float,
    down: float | None = None,
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    factor: float = 1.0,
) -> Schedule:
    """Go from the configured value to a multiple of it and back, on straight lines, again and again.

    A cycle lasts ``up + down``; x rises in it from 0 to 1 and falls to 0 again. In cycle i, counted from 0,
    the value at time t is ``initial + (ratio - 1) * initial * x * h`` with the height h = 1 (`triangular`),
    ``0.5 ** i`` (`triangular2`) or ``factor ** t`` (`exp_range`).

    Parameters
    ----------
    initial : float
        The value at which each cycle begins and ends.
    ratio : float
        The value at the turning point as a multiple of `initial`, at least 0; below 1 the value first falls.
    up : float
        The time from the beginning of a cycle to its turning point, above 0.
    down : float, optional
        The time from there to its end, above 0; as long as `up` where omitted.
    mode : {'triangular', 'triangular2', 'exp_range'}
        Whether the cycles keep their height, halve it, or lose it smoothly.
    factor : float, default 1.0
        What the height is multiplied by in each unit of time, above 0; for `exp_range` alone.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where an argument is out of its range.

    References
    ----------
    Smith (2015), Cyclical learning rates for training neural networks. arXiv:1506.01186.

    Examples
    --------
    >>> value = cyclic(1.0, ratio=5.0, up=2, mode="triangular2")
    >>> [value(time) for time in range(9)]
    [1.0, 3.0, 5.0, 3.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    down = up if down is None else down
    check_positive(up=up, down=down, factor=factor)
    check_not_negative(ratio=ratio)
    check_choice("mode", mode, ("triangular", "triangular2", "exp_range"))
    length, amplitude = up + down, (ratio - 1.0) * initial

    def value(time: float) -> float:
        cycle = whole(time / length)
        place = max(time - cycle * length, 0.0)
        rising = place / up if place <= up else max(length - place, 0.0) / down
        height = {"triangular": 1.0, "triangular2": 0.5**cycle}.get(mode) or factor**time
        return float(initial + amplitude * rising * height)

    return value


def one_cycle(
    initial: float,
    start_ratio: float = 0.04,
    peak_ratio: float = 1.0,
    final_ratio: float = 4e-6,
    rise: float = 0.3,
    duration: float = 1.0,
    shape: Literal["cosine", "linear"] = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """Go once up to a peak and down again, below where it began.

    The value goes from ``start_ratio * initial`` to ``peak_ratio * initial`` in the time ``rise * duration``,
    and in what is left to ``final_ratio * initial``, where it stays. With `three_phase` it takes as long
    back to where it began as it took to the peak, and only then goes on to the final value.

    With the defaults the configured value is the peak. A momentum is cycled the other way, from its
    configured value (``start_ratio=1``) down (``peak_ratio=0.9``) and back (``final_ratio=1``).

    Parameters
    ----------
    initial : float
        The configured value, which the ratios multiply.
    start_ratio, peak_ratio, final_ratio : float
        At the beginning, at the peak and at the end, at least 0.
    rise : float, default 0.3
        The part of `duration` that it takes to the peak, above 0 and below 1 (0.5 with `three_phase`).
    duration : float, default 1.0
        How long the cycle lasts, above 0.
    shape : {'cosine', 'linear'}
        Half a wave of a cosine between two values, or a straight line.
    three_phase : bool, default False
        Whether the fall halts where the rise began.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where an argument is out of its range.

    References
    ----------
    Smith and Topin (2017), Super-convergence: very fast training of neural networks using large learning
    rates. arXiv:1708.07120.

    Examples
    --------
    >>> value = one_cycle(1.0, start_ratio=0.5, final_ratio=0.0, rise=0.25, duration=8, shape="linear")
    >>> [round(value(time), 3) for time in range(9)]
    [0.5, 0.75, 1.0, 0.833, 0.667, 0.5, 0.333, 0.167, 0.0]
    """
    check_positive(duration=duration)
    check_not_negative(start_ratio=start_ratio, peak_ratio=peak_ratio, final_ratio=final_ratio)
    check_choice("shape", shape, ("cosine", "linear"))
    check_finite(rise=rise)
    most = 0.5 if three_phase else 1.0
    if not 0 < rise < most:
        raise ValueError(f"rise must be above 0 and below {most:g}; it is {rise}")
    turns = [0.0, rise, *([2.0 * rise] if three_phase else []), 1.0]
    ratios = [start_ratio, peak_ratio, *([start_ratio] if three_phase else []), final_ratio]
    phases = [
        (begin * duration, end * duration, first * initial, last * initial)
        for begin, end, first, last in zip(turns, turns[1:], ratios, ratios[1:], strict=False)
    ]

    def value(time: float) -> float:
        for begin, end, first, last in phases:
            if time < end:
                return between(first, last, (time - begin) / (end - begin), shape)
        return final_ratio * initial

    return value
