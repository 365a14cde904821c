"""Prodigy: Adam that finds its learning rate by its distance from the start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
from numpy.typing import NDArray
from theano import tensor

from ._assembly import RuleUpdates, extend
from ._definition import Definition, Expression
from ._parameters import Updates, as_scalar, check_parameters, get_gradients


def prodigy(
    loss_or_grads: Expression,
    params: Sequence[Any],
    learning_rate: Expression = 1.0,
    beta1: Expression = 0.9,
    beta2: Expression = 0.999,
    epsilon: Expression = 1e-8,
    weight_decay: Expression = 0.0,
    d0: Expression = 1e-6,
) -> Updates:
    """Prodigy: Adam's step times an estimate d of the distance to the solution, which only grows.

    The update of each parameter p with gradient g, with m, v, s and r starting at 0, d at d0, p0 the
    parameter at the start, and b the root of beta2. r and d are one for all parameters, the sums run over
    all of them, and d is the old one until the last line::

        m <- beta1 * m + (1 - beta1) * d * g
        v <- beta2 * v + (1 - beta2) * d**2 * g**2
        s <- b * s + (1 - b) * learning_rate * d**2 * g
        p <- p - learning_rate * d * (m / (sqrt(v) + d * epsilon) + weight_decay * p)
        r <- b * r + (1 - b) * learning_rate * d**2 * sum(g * (p0 - p))         (the old p)
        d <- max(d, r / sum(abs(s)))                                            (the new r and s)

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 1.0
        A factor of the step, to be left at 1, or scheduled from 1 downwards: the paper's gamma.
    beta1 : float or symbolic scalar, default 0.9
        The decay of the running mean of gradients, at least 0 and below 1.
    beta2 : float or symbolic scalar, default 0.999
        The decay of the running mean of squared gradients, at least 0 and below 1.
    epsilon : float or symbolic scalar, default 1e-8
        Added to the root, times d, against division by zero.
    weight_decay : float or symbolic scalar, default 0
        The decoupled decay of the parameters, times the step's size; at least 0.
    d0 : float or symbolic scalar, default 1e-6
        The first estimate, above 0 and below the distance to the solution.

    Returns
    -------
    OrderedDict
        Each parameter with its update, the states ``<parameter>.mean`` (m), ``<parameter>.mean_square`` (v),
        ``<parameter>.gradient_sum`` (s) and ``<parameter>.start`` (p0), and for all one ``numerator`` (r) and
        one ``d``.

    Raises
    ------
    ValueError
        As `sgd` does.

    Notes
    -----
    Where all gradients were 0, d stays as it is. The paper has no correction of the bias, and neither has
    this rule; Optax corrects it, the program of the authors does on demand. That program takes the new d
    beside epsilon.

    References
    ----------
    Mishchenko and Defazio (2023), Prodigy: An expeditiously adaptive parameter-free learner, algorithm 4.
    arXiv:2306.06101.
    """
    parameters = check_parameters(params)
    gradients = get_gradients(loss_or_grads, parameters)
    numerator, kept = (theano.shared(np.zeros(()), name=name) for name in ("numerator", "d"))
    # Kept as 0 until it grows, so that d0 can be a symbolic scalar.
    distance = tensor.maximum(kept, as_scalar("d0", d0, "float64"))
    values = {
        "learning_rate": learning_rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": epsilon,
        "weight_decay": weight_decay,
        "d": distance,
    }
    updates = RuleUpdates()
    states = extend(updates, lambda _: _DEFINITION, parameters, gradients, values)
    fallen, size = 0, 0
    for parameter, gradient, own in zip(parameters, gradients, states, strict=True):
        fallen += _sum(gradient * (own["start"] - parameter))
        size += _sum(abs(updates[own["gradient_sum"]]))
    rate, decay = (as_scalar(name, values[name], "float64") for name in ("learning_rate", "beta2"))
    decay = tensor.sqrt(decay)
    updates[numerator] = decay * numerator + (1 - decay) * rate * distance**2 * fallen
    estimate = updates[numerator] / tensor.switch(tensor.gt(size, 0), size, 1)
    updates[kept] = tensor.maximum(distance, estimate)
    return updates


def _prodigy(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    gradient_sum: Expression,
    start: Expression,
    *,
    d: Expression,
    learning_rate: Expression,
    beta1: Expression,
    beta2: Expression,
    epsilon: Expression,
    weight_decay: Expression,
) -> tuple[Expression, ...]:
    decay = tensor.sqrt(beta2)
    mean = beta1 * mean + (1 - beta1) * d * gradient
    mean_square = beta2 * mean_square + (1 - beta2) * tensor.sqr(d * gradient)
    gradient_sum = decay * gradient_sum + (1 - decay) * learning_rate * tensor.sqr(d) * gradient
    direction = mean / (tensor.sqrt(mean_square) + d * epsilon) + weight_decay * parameter
    return parameter - learning_rate * d * direction, mean, mean_square, gradient_sum, start


def _same(value: NDArray[Any]) -> NDArray[Any]:
    return value


_DEFINITION = Definition.of(_prodigy, starts={"start": _same})


def _sum(values: Expression) -> Expression:
    return tensor.sum(values, dtype="float64", acc_dtype="float64")
