"""Muon: momentum made orthogonal for matrices, AdamW for all else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from theano import tensor

from ._adamw import adamw
from ._assembly import assemble
from ._definition import Definition, Expression
from ._parameters import Updates

# Of the write-up: a quintic that takes singular values from (0, 1] to about 1 in few steps.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
LEAST_NORM = 1e-7


def muon(
    loss_or_grads: Expression,
    params: Sequence[Any],
    learning_rate: Expression = 0.02,
    momentum: Expression = 0.95,
    weight_decay: Expression = 0.0,
    iterations: int = 5,
    nesterov: bool = True,
    adamw_learning_rate: Expression = 0.0003,
    beta1: Expression = 0.9,
    beta2: Expression = 0.95,
    epsilon: Expression = 1e-10,
) -> Updates:
    """Muon: steps along the momentum with all its singular values brought near 1.

    The update of a matrix p with gradient g, with the velocity v starting at 0::

        v <- momentum * v + g
        d  = g + momentum * v           (the new v; d = v where nesterov is false)
        X  = d / (norm(d) + 1e-7)       (the norm over all elements)
        X  = 3.4445 * X - 4.7750 * (X X') X + 2.0315 * (X X')**2 X          (`iterations` times)
        p <- p - learning_rate * (sqrt(max(1, outputs / inputs)) * X + weight_decay * p)

    X is used transposed where that makes the product X X' smaller. A matrix is taken as inputs by outputs, as
    dense layers hold it. Tensors of more axes are taken as matrices of the first axis by all others, as
    convolutions hold their filters: outputs by inputs. Vectors and scalars follow `adamw`, with a learning
    rate of their own.

    Parameters
    ----------
    loss_or_grads : symbolic expression or list of expressions
        A scalar loss, or one gradient for each parameter.
    params : list of shared variables
        The parameters to update.
    learning_rate : float or symbolic scalar, default 0.02
        The spectral norm of a matrix's step, about.
    momentum : float or symbolic scalar, default 0.95
        The part of the velocity that is kept at each step, at least 0 and below 1. It does not change the
        size of the step.
    weight_decay : float or symbolic scalar, default 0
        Decoupled decay, of the matrices and, by AdamW, of the others; at least 0.
    iterations : int, default 5
        The Newton-Schulz iterations.
    nesterov : bool, default True
        Whether the direction looks ahead.
    adamw_learning_rate : float or symbolic scalar, default 0.0003
        The learning rate of what is no matrix. A schedule of `learning_rate` leaves it alone.
    beta1, beta2, epsilon : float or symbolic scalar, defaults 0.9, 0.95, 1e-10
        As of `adamw`, for what is no matrix.

    Returns
    -------
    OrderedDict
        Each parameter with its update; of matrices the state ``<parameter>.velocity`` (v), of the others
        ``<parameter>.mean`` and ``<parameter>.mean_square`` and one ``step`` for all.

    Raises
    ------
    ValueError
        As `sgd` does, and for a negative number of iterations.

    Notes
    -----
    The write-up advises AdamW for embeddings and for the last layer too, though they hold matrices: give
    their group a rule of its own. It reckons in bfloat16, this rule in the parameter's type. Other variants
    scale by ``0.2 * sqrt(max(outputs, inputs))``, so that a step has the size of AdamW's and may share its
    learning rate (Liu et al. 2025, arXiv:2502.16982; PyTorch's ``match_rms_adamw``), or have weight decay 0.1
    (PyTorch's default).

    References
    ----------
    Jordan et al. (2024), Muon: An optimizer for hidden layers in neural networks.
    https://kellerjordan.github.io/posts/muon/
    """
    if iterations < 0:
        raise ValueError(f"iterations must be at least 0; it is {iterations}")
    values = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "iterations": iterations,
        "nesterov": nesterov,
        "adamw_learning_rate": adamw_learning_rate,
        "beta1": beta1,
        "beta2": beta2,
        "epsilon": epsilon,
    }
    return assemble(loss_or_grads, params, _choose, values)


def orthogonalize(matrix: Expression, iterations: int, wide: bool) -> Expression:
    """Bring the singular values of a matrix near 1 by Newton-Schulz iterations.

    Parameters
    ----------
    matrix : symbolic matrix
        Any; zeros stay zeros.
    iterations : int
        How many. Five bring singular values above 0.01 of the norm between about 0.7 and 1.2.
    wide : bool
        Whether the matrix has no more rows than columns. The result does not depend on it, the work does.
    """
    first, third, fifth = (np.asarray(number, matrix.dtype) for number in COEFFICIENTS)
    least = np.asarray(LEAST_NORM, matrix.dtype)
    scaled = matrix if wide else matrix.T
    scaled = scaled / (tensor.sqrt(tensor.sum(tensor.sqr(scaled))) + least)
    for _ in range(iterations):
        gram = tensor.dot(scaled, scaled.T)
        polynomial = third * gram + fifth * tensor.dot(gram, gram)
        scaled = first * scaled + tensor.dot(polynomial, scaled)
    return scaled if wide else scaled.T


def _choose(parameter: Any) -> Definition:
    shape = parameter.get_value(borrow=True, return_internal_type=True).shape
    if len(shape) < 2:
        return _ELSE
    rows, columns = shape[0], int(np.prod(shape[1:]))
    outputs_over_inputs = columns / rows if len(shape) == 2 else rows / columns
    return _matrix(wide=rows <= columns, scale=max(1.0, outputs_over_inputs) ** 0.5)


def _matrix(wide: bool, scale: float) -> Definition:
    def orthogonal(
        parameter: Expression,
        gradient: Expression,
        velocity: Expression,
        *,
        learning_rate: Expression,
        momentum: Expression,
        weight_decay: Expression,
        iterations: int,
        nesterov: bool,
    ) -> tuple[Expression, ...]:
        velocity = momentum * velocity + gradient
        direction = gradient + momentum * velocity if nesterov else velocity
        matrix = direction if parameter.ndim == 2 else direction.flatten(2)
        step = orthogonalize(matrix, iterations, wide) * np.asarray(scale, matrix.dtype)
        if parameter.ndim != 2:
            step = step.reshape(parameter.shape, ndim=parameter.ndim)
        return parameter - learning_rate * (step + weight_decay * parameter), velocity

    return Definition.of(orthogonal)


def _else(
    parameter: Expression,
    gradient: Expression,
    mean: Expression,
    mean_square: Expression,
    *,
    step: Expression,
    adamw_learning_rate: Expression,
    beta1: Expression,
    beta2: Expression,
    epsilon: Expression,
    weight_decay: Expression,
) -> tuple[Expression, ...]:
    return adamw.definition(
        parameter,
        gradient,
        mean,
        mean_square,
        step=step,
        learning_rate=adamw_learning_rate,
        beta1=beta1,
        beta2=beta2,
        epsilon=epsilon,
        weight_decay=weight_decay,
    )


_ELSE = Definition.of(_else)
