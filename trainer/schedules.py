"""Schedules: pure functions from time to the value of a hyperparameter.

A schedule is made with the hyperparameter's own configured value, `initial`, and called with the time t, at
least 0, in the unit that its configuration names: steps, epochs (in fractions too), or runs, where 1 is the
end of the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[float], float]


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
    _check_positive("duration", duration)

    def value(time: float) -> float:
        done = min(time / duration, 1.0)
        return (1.0 - done) * initial + done * final

    return value


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
    _check_positive("every", every)
    _check_positive("factor", factor)
    # Time comes as a quotient, and 0.3 / 0.1 is a hair below 3: a change that is due must not wait a step.
    hair = 1e-9
    return lambda time: initial * factor ** math.floor(time / every + hair)


def exponential(initial: float, factor: float, every: float = 1.0) -> Schedule:
    """Multiply the value by a factor in each span of time, smoothly.

    The value at time t is ``initial * factor ** (t / every)``.

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
    _check_positive("factor", factor)
    _check_positive("every", every)
    return lambda time: float(initial * factor ** (time / every))


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
    _check_positive("duration", duration)

    def value(time: float) -> float:
        done = min(time / duration, 1.0)
        return final + (initial - final) * 0.5 * (1.0 + math.cos(math.pi * done))

    return value


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0; it is {value}")
