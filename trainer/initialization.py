"""The values that parameters begin with, by name.

A unit adds up `fan_in` inputs and hands its output to `fan_out` units of the next layer. For the weights of a
dense layer, (inputs, units), fan_in is the number of inputs and fan_out the number of units. For the filters
of a convolution, fan_in = channels · rows · columns of the kernel, and fan_out = filters · rows · columns.
"""

from __future__ import annotations

import math
import re
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


def orthogonal(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Draw a matrix whose rows or columns, whichever are fewer, are orthonormal, each such as likely as any.

    Of a matrix, (inputs, units), as it stands; of filters, (filters, channels, rows, columns), as
    (filters, channels · rows · columns). With a gain g the vectors have the norm g: `orthogonal(1.4)`
    (Saxe, McClelland & Ganguli 2013, arXiv:1312.6120).
    """
    rows = shape[0] if shape else 1
    columns = math.prod(shape[1:])
    normal = generator.normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    # The signs of r's diagonal are the algorithm's choice; without them q is spread evenly.
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return np.reshape(q if rows >= columns else q.T, shape)


def zeros(generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int) -> NDArray[Any]:
    """Begin at 0."""
    return np.zeros(shape)


INITIALIZATIONS: Mapping[str, Initialization] = {
    function.__name__: function
    for function in (glorot_uniform, glorot_normal, he_uniform, he_normal, orthogonal, zeros)
}
WITH_GAIN = re.compile(r"orthogonal\((.+)\)")


def initialization_named(value: str | float, key: str = "initialization") -> Initialization:
    """Find an initialisation.

    Parameters
    ----------
    value : str or float
        One of `INITIALIZATIONS`; `orthogonal(GAIN)`, which is GAIN times `orthogonal`; or a number with which
        every element begins.
    key : str
        What the message calls the argument.

    Raises
    ------
    UsageError
        For an unknown name, with the nearest one, and for a number that is not finite.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return lambda generator, shape, fan_in, fan_out: np.full(shape, float(value))
    gain = _gain(value)
    if gain is not None:
        return lambda generator, shape, *fans: gain * orthogonal(generator, shape, *fans)
    if not isinstance(value, str) or value not in INITIALIZATIONS:
        raise UsageError(
            f"{key}={value} is neither an initialization nor a finite number: "
            f"{nearest(str(value), INITIALIZATIONS)}"
        )
    return INITIALIZATIONS[value]


def _gain(value: Any) -> float | None:
    matched = WITH_GAIN.fullmatch(value) if isinstance(value, str) else None
    try:
        gain = float(matched.group(1)) if matched else math.nan
    except ValueError:
        return None
    return gain if math.isfinite(gain) else None
