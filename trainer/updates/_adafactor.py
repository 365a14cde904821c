"""Adafactor: a running mean of squared gradients kept as its rows' and its columns' means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from theano import tensor

from ._assembly import assemble
from ._definition import Definition, Expression, Start
from ._parameters import Updates, arithmetic_dtype


def adafactor(
    loss_or_grads: Expression,
    params: Sequence[Any],
    learning_rate: Expression = 0.01,
    decay_exponent: Expression = 0.8,
    epsilon: Expression = 1e-30,
    min_rms: Expression = 0.001,
    max_rms: Expression = 1.0,
    relative_step: bool = True,
    scale_parameter: bool = True,
) -> Updates:
    """Adafactor: root-mean-square scaling with memory for one row and one column of a matrix.

    The update of a matrix p with gradient g, with R (one number a row) and C (one number a column) starting
    at 0, t counting the updates from 1, and rms the root of the mean square of a whole tensor::

        b  = 1 - t**-decay_exponent
        R <- b * R + (1 - b) * mean(g**2 + epsilon, of each row)
        C <- b * C + (1 - b) * mean(g**2 + epsilon, of each column)
        u  = g / sqrt(R * C / mean(R))
        u  = u / max(1, rms(u) / max_rms)
        a  = min(learning_rate, 1 / sqrt(t)) * max(min_rms, rms(p))
        p <- p - a * u

    Vectors and scalars keep the whole mean square v instead, with ``u = g / sqrt(v)``. A tensor of more than
    two axes is factored over its two longest ones, so that each index of the others has its own R and C.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.01
        The size of the step; the largest one where `relative_step` is true.
    decay_exponent : float or symbolic scalar, default 0.8
        How fast the decay b comes near 1, above 0.
    epsilon : float or symbolic scalar, default 1e-30
        Added to the squares, against division by zero. The paper's epsilon 1.
    min_rms : float or symbolic scalar, default 0.001
        Parameters that are smaller are scaled as if they were this large. The paper's epsilon 2.
    max_rms : float or symbolic scalar, default 1.0
        Updates that are larger are scaled down to this root mean square, above 0. The paper's d.
    relative_step : bool, default True
        Whether the step decays with 1 / sqrt(t). With False the learning rate is `learning_rate`, as a
        schedule wants it.
    scale_parameter : bool, default True
        Whether the step is in proportion to the parameter's root mean square.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.row`` (R) and ``<parameter>.column`` (C), or
        ``<parameter>.mean_square`` (v), and one ``step`` (t) for all.

    Raises
    ------
    ValueError
        As `sgd` does.

    Notes
    -----
    PyTorch factors over the last two axes, and bounds the root below where the paper adds `epsilon` to the
    squares; Optax factors over the two longest, as here, but by default only where both have at least 128
    elements. Momentum, which the paper leaves out to save memory, is had by a wrapper.

    References
    ----------
    Shazeer and Stern (2018), Adafactor: Adaptive learning rates with sublinear memory cost, algorithms 4
    to 6. arXiv:1804.04235.
    """
    values = {
        "learning_rate": learning_rate,
        "decay_exponent": decay_exponent,
        "epsilon": epsilon,
        "min_rms": min_rms,
        "max_rms": max_rms,
        "relative_step": relative_step,
        "scale_parameter": scale_parameter,
    }
    return assemble(loss_or_grads, params, _choose, values)


def _choose(parameter: Any) -> Definition:
    shape = parameter.get_value(borrow=True, return_internal_type=True).shape
    if len(shape) < 2:
        return _UNFACTORED
    rows, columns = sorted(int(axis) for axis in np.argsort(shape, kind="stable")[-2:])
    return _factored(rows, columns)


def _unfactored(
    parameter: Expression,
    gradient: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    learning_rate: Expression,
    decay_exponent: Expression,
    epsilon: Expression,
    min_rms: Expression,
    max_rms: Expression,
    relative_step: bool,
    scale_parameter: bool,
) -> tuple[Expression, ...]:
    mean_square = _decayed(mean_square, tensor.sqr(gradient) + epsilon, step, decay_exponent)
    update = _bounded(gradient / tensor.sqrt(mean_square), max_rms)
    rate = _rate(parameter, step, learning_rate, min_rms, relative_step, scale_parameter)
    return parameter - rate * update, mean_square


def _factored(rows: int, columns: int) -> Definition:
    def factored(
        parameter: Expression,
        gradient: Expression,
        row: Expression,
        column: Expression,
        *,
        step: Expression,
        learning_rate: Expression,
        decay_exponent: Expression,
        epsilon: Expression,
        min_rms: Expression,
        max_rms: Expression,
        relative_step: bool,
        scale_parameter: bool,
    ) -> tuple[Expression, ...]:
        square = tensor.sqr(gradient) + epsilon
        row = _decayed(row, square.mean(axis=columns, keepdims=True), step, decay_exponent)
        column = _decayed(column, square.mean(axis=rows, keepdims=True), step, decay_exponent)
        # Two roots rather than one of the product, which may be smaller than any float32.
        update = gradient / tensor.sqrt(row / row.mean(axis=rows, keepdims=True)) / tensor.sqrt(column)
        rate = _rate(parameter, step, learning_rate, min_rms, relative_step, scale_parameter)
        return parameter - rate * _bounded(update, max_rms), row, column

    return Definition.of(factored, starts={"row": _zeros(columns), "column": _zeros(rows)})


def _zeros(*reduced: int) -> Start:
    def start(value: NDArray[Any]) -> NDArray[Any]:
        shape = [1 if axis in reduced else length for axis, length in enumerate(value.shape)]
        # The mean of squares as small as epsilon is zero in half precision.
        return np.zeros(shape, dtype=arithmetic_dtype(str(value.dtype)))

    return start


_UNFACTORED = Definition.of(_unfactored, starts={"mean_square": _zeros()})


def _decayed(
    mean: Expression, square: Expression, step: Expression, decay_exponent: Expression
) -> Expression:
    decay = 1 - step ** (-decay_exponent)
    return decay * mean + (1 - decay) * square


def _bounded(update: Expression, max_rms: Expression) -> Expression:
    return update / tensor.maximum(1, _rms(update) / max_rms)


def _rate(
    parameter: Expression,
    step: Expression,
    learning_rate: Expression,
    min_rms: Expression,
    relative_step: bool,
    scale_parameter: bool,
) -> Expression:
    rate = tensor.minimum(learning_rate, 1 / tensor.sqrt(step)) if relative_step else learning_rate
    return rate * tensor.maximum(min_rms, _rms(parameter)) if scale_parameter else rate


def _rms(values: Expression) -> Expression:
    return tensor.sqrt(tensor.sqr(values).mean())
