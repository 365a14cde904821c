"""The values that parameters begin with, by name.

A unit adds up `fan_in` inputs and hands its output to `fan_out` units of the next layer. For the weights of a
dense layer, (inputs, units), fan_in is the number of inputs and fan_out the number of units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import UsageError, nearest

Shape = tuple[int, ...]
Initialization = Callable[[np.random.Generator, Shape, int, int], NDArray[Any]]


def glorot_uniform(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Draw from U(−a, a) with a = √(6 / (fan_in + fan_out)) (Glorot & Bengio 2010, AISTATS)."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return generator.uniform(-limit, limit, shape)


def glorot_normal(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Draw from N(0, σ²) with σ = √(2 / (fan_in + fan_out)) (Glorot & Bengio 2010, AISTATS)."""
    return generator.normal(0, math.sqrt(2 / (fan_in + fan_out)), shape)


def he_uniform(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Draw from U(−a, a) with a = √(6 / fan_in), made for rectifiers (He et al. 2015, arXiv:1502.01852)."""
    limit = math.sqrt(6 / fan_in)
    return generator.uniform(-limit, limit, shape)


def he_normal(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Draw from N(0, σ²) with σ = √(2 / fan_in), made for rectifiers (He et al. 2015, arXiv:1502.01852)."""
    return generator.normal(0, math.sqrt(2 / fan_in), shape)


def zeros(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Begin at 0."""
    return np.zeros(shape)


INITIALIZATIONS: Mapping[str, Initialization] = {
    function.__name__: function for function in (glorot_uniform, glorot_normal, he_uniform, he_normal, zeros)
}


def initialization_named(value: str | float, key: str = "initialization") -> Initialization:
    """Find an initialisation.

    Parameters
    ----------
    value : str or float
        One of `INITIALIZATIONS`, or a number with which every element begins.
    key : str
        What the message calls the argument.

    Raises
    ------
    UsageError
        For an unknown name, with the nearest one, and for a number that is not finite.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return lambda generator, shape, fan_in, fan_out: np.full(shape, float(value))
    if not isinstance(value, str) or value not in INITIALIZATIONS:
        raise UsageError(
            f"{key}={value} is neither an initialization nor a finite number: "
            f"{nearest(str(value), INITIALIZATIONS)}"
        )
    return INITIALIZATIONS[value]
