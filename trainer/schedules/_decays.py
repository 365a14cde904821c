"""Schedules that go one way: smooth formulas of time."""

from __future__ import annotations

import math

from ._common import Schedule, between, check_not_negative, check_positive, whole


def constant(initial: float) -> Schedule:
    """Keep the value.

    The value at time t is ``initial``.

    Parameters
    ----------
    initial : float
        The value.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Examples
    --------
    >>> value = constant(0.1)
    >>> value(0), value(1000)
    (0.1, 0.1)
    """
    return lambda time: initial


def linear(initial: float, final: float, duration: float) -> Schedule:
    """Go from one value to another on a straight line, and stay there.

    The value at time t is ``initial + (final - initial) * min(t / duration, 1)``.

    Parameters
    ----------
    initial : float
        The value at time 0.
    final : float
        The value from `duration` on.
    duration : float
        How long it takes, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `duration` is not above 0.

    Examples
    --------
    >>> value = linear(1.0, final=0.0, duration=4)
    >>> [value(time) for time in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    check_positive(duration=duration)
    return lambda time: between(initial, final, min(time / duration, 1.0))


def polynomial(initial: float, final: float = 0.0, duration: float = 1.0, power: float = 2.0) -> Schedule:
    """Go from one value to another on a power of the time that is left, and stay there.

    The value at time t is ``final + (initial - final) * (1 - min(t / duration, 1)) ** power``: above a power
    of 1 it falls fast first and slowly last.

    Parameters
    ----------
    initial : float
        The value at time 0.
    final : float, default 0.0
        The value from `duration` on.
    duration : float, default 1.0
        How long it takes, above 0.
    power : float, default 2.0
        Above 0; 1 is a straight line.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `duration` or `power` is not above 0.

    Examples
    --------
    >>> value = polynomial(1.0, duration=4, power=2)
    >>> [value(time) for time in range(6)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0]
    """
    check_positive(duration=duration, power=power)
    return lambda time: final + (initial - final) * (1.0 - min(time / duration, 1.0)) ** power


def exponential(initial: float, factor: float, every: float = 1.0) -> Schedule:
    """Multiply the value by a factor in each span of time, smoothly.

    The value at time t is ``initial * factor ** (t / every)``. Multiplied at the end of each span at once, it
    is `step`.

    Parameters
    ----------
    initial : float
        The value at time 0.
    factor : float
        What the value is multiplied by in each span, above 0.
    every : float, default 1.0
        The length of the span, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `factor` or `every` is not above 0.

    Examples
    --------
    >>> value = exponential(1.0, factor=0.25, every=2)
    >>> [value(time) for time in range(5)]
    [1.0, 0.5, 0.25, 0.125, 0.0625]
    """
    check_positive(factor=factor, every=every)
    return lambda time: float(initial * factor ** (time / every))


def natural_exponential(
    initial: float, decay_rate: float, every: float = 1.0, staircase: bool = False
) -> Schedule:
    """Let the value decay by a rate.

    The value at time t is ``initial * exp(-decay_rate * n)``, n being ``t / every``, or its whole part where
    `staircase` is true.

    Parameters
    ----------
    initial : float
        The value at time 0.
    decay_rate : float
        What part of the value is lost in a span, for small rates; at least 0.
    every : float, default 1.0
        The length of the span, above 0.
    staircase : bool, default False
        Whether the value changes at the end of each span alone.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `decay_rate` is below 0 or `every` not above 0.

    Examples
    --------
    >>> value = natural_exponential(1.0, decay_rate=0.5, every=10)
    >>> [round(value(time), 4) for time in (0, 10, 20)]
    [1.0, 0.6065, 0.3679]
    """
    check_not_negative(decay_rate=decay_rate)
    check_positive(every=every)
    return lambda time: initial * math.exp(-decay_rate * _spans(time / every, staircase))


def inverse_time(initial: float, decay_rate: float, every: float = 1.0, staircase: bool = False) -> Schedule:
    """Divide the value by a number that grows with time.

    The value at time t is ``initial / (1 + decay_rate * n)``, n being ``t / every``, or its whole part where
    `staircase` is true.

    Parameters
    ----------
    initial : float
        The value at time 0.
    decay_rate : float
        How much the divisor grows in a span, at least 0.
    every : float, default 1.0
        The length of the span, above 0.
    staircase : bool, default False
        Whether the value changes at the end of each span alone.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `decay_rate` is below 0 or `every` not above 0.

    References
    ----------
    Robbins and Monro (1951), A stochastic approximation method. The Annals of Mathematical Statistics 22,
    400-407: steps whose sum is infinite and whose squares' sum is not.

    Examples
    --------
    >>> value = inverse_time(1.0, decay_rate=1.0, every=2)
    >>> [value(time) for time in (0, 2, 6)]
    [1.0, 0.5, 0.25]
    """
    check_not_negative(decay_rate=decay_rate)
    check_positive(every=every)
    return lambda time: initial / (1.0 + decay_rate * _spans(time / every, staircase))


def inverse_square_root(initial: float, timescale: float = 1.0) -> Schedule:
    """Let the value decay with the square root of time.

    The value at time t is ``initial / sqrt(1 + t / timescale)``. After a warm-up of the length w and with
    ``timescale = w``, that is the learning rate of the Transformer, ``initial * min(t / w, sqrt(w / t))``.

    Parameters
    ----------
    initial : float
        The value at time 0.
    timescale : float, default 1.0
        The time in which the value falls to 0.71 of what it was at first, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `timescale` is not above 0.

    References
    ----------
    Vaswani et al. (2017), Attention is all you need. arXiv:1706.03762.

    Examples
    --------
    >>> value = inverse_square_root(1.0, timescale=100)
    >>> [value(time) for time in (0, 300, 1500)]
    [1.0, 0.5, 0.25]
    """
    check_positive(timescale=timescale)
    return lambda time: initial / math.sqrt(1.0 + time / timescale)


def cosine(initial: float, final: float = 0.0, duration: float = 1.0) -> Schedule:
    """Go from one value to another on half a wave of a cosine, and stay there.

    The value at time t is ``final + (initial - final) * (1 + cos(pi * min(t / duration, 1))) / 2``.

    Parameters
    ----------
    initial : float
        The value at time 0.
    final : float, default 0.0
        The value from `duration` on.
    duration : float, default 1.0
        How long it takes, above 0.

    Returns
    -------
    Schedule
        Gives the value at a time.

    Raises
    ------
    ValueError
        Where `duration` is not above 0.

    References
    ----------
    Loshchilov and Hutter (2016), SGDR: Stochastic gradient descent with warm restarts. arXiv:1608.03983.

    Examples
    --------
    >>> value = cosine(1.0, duration=4)
    >>> [round(value(time), 3) for time in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    check_positive(duration=duration)

    def value(time: float) -> float:
        done = min(time / duration, 1.0)
        return final + (initial - final) * 0.5 * (1.0 + math.cos(math.pi * done))

    return value


def _spans(quotient: float, staircase: bool) -> float:
    return whole(quotient) if staircase else quotient
