"""SM3: Adagrad with one accumulator for each slice of a tensor in place of one for each element."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano import tensor

from ._assembly import assemble
from ._definition import Definition, Expression, Start
from ._parameters import Updates


def sm3(loss_or_grads: Expression, params: Sequence[Any], learning_rate: Expression) -> Updates:
    """SM3-II: adaptive steps with memory for one number of each row, column, or other slice.

    The update of a parameter p with gradient g, where the accumulators a_k, one for each axis k of p, hold
    one number for each index of that axis and start at 0::

        n   = min(a_k over all axes k, each broadcast along the others) + g**2
        p   <- p - learning_rate * g / sqrt(n)          (0 where n is 0)
        a_k <- max(n over all axes but k)

    For a vector this is Adagrad without its epsilon.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar
        The size of the first step of each element. The paper tunes it for each task, and lets it grow
        linearly over the first steps.

    Returns
    -------
    OrderedDict
        Each parameter with its update, and the states ``<parameter>.axis_0``, ``<parameter>.axis_1``, ...
        (a_0, a_1, ...), or ``<parameter>.accumulator`` of a scalar.

    Raises
    ------
    ValueError
        As `sgd` does.

    Notes
    -----
    The paper's experiments, and Optax, add momentum: ``m <- beta * m + (1 - beta) * g / sqrt(n)``.
    `apply_momentum` around this rule is the same with a learning rate of ``1 - beta`` times the other;
    without it, no state of the parameter's size is kept. Optax adds 1e-8 to n below the root.

    References
    ----------
    Anil, Gupta, Koren and Singer (2019), Memory-efficient adaptive optimization, algorithm SM3-II.
    arXiv:1901.11150.
    """
    return assemble(loss_or_grads, params, _choose, {"learning_rate": learning_rate})


def _choose(parameter: Any) -> Definition:
    axes = range(parameter.ndim)

    def sm3(
        parameter: Expression, gradient: Expression, *accumulators: Expression, learning_rate: Expression
    ) -> tuple[Expression, ...]:
        covered = reduce(tensor.minimum, accumulators) + tensor.sqr(gradient)
        # A division that is not chosen must not be 0 / 0 either: Theano's debugging modes stop at it.
        divisor = tensor.sqrt(tensor.switch(tensor.gt(covered, 0), covered, 1))
        slices = [_largest(covered, [other for other in axes if other != axis]) for axis in axes]
        return (parameter - learning_rate * gradient / divisor, *(slices or [covered]))

    names = tuple(f"axis_{axis}" for axis in axes) or ("accumulator",)
    return Definition(
        function=sm3,
        states=names,
        hyperparameters=(signature(sm3).parameters["learning_rate"],),
        starts={name: _zeros(axis) for axis, name in enumerate(names)},
    )


def _largest(values: Expression, axes: list[int]) -> Expression:
    return values.max(axis=axes, keepdims=True) if axes else values


def _zeros(axis: int) -> Start:
    def start(value: NDArray[Any]) -> NDArray[Any]:
        shape = [length if at == axis else 1 for at, length in enumerate(value.shape)]
        return np.zeros(shape, dtype=value.dtype)

    return start
