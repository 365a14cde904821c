"""Sharpness-aware minimization: gradients at the worst point near the parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import theano
from theano import tensor

from ._definition import Expression
from ._parameters import arithmetic_dtype, as_scalar, check_parameters, get_gradients

_TINY = 1e-12


def sharpness_aware(
    loss: Expression,
    params: Sequence[Any],
    radius: Expression = 0.05,
    adaptive: bool = False,
    eta: Expression = 0.01,
) -> list[Expression]:
    """Give the gradients of a loss where it is about largest near the parameters.

    With g the gradient of the loss at the parameters p, all of them together, and n the L2 norm of g::

        e = radius * g / n
        gradient of the loss at p + e

    With `adaptive` (ASAM), the neighbourhood is scaled to each element of the parameters: with
    ``T = abs(p) + eta``, elementwise, and n the L2 norm of ``T * g``::

        e = radius * T**2 * g / n

    Both gradients are taken in one step, at the cost of two. Random masks (dropout) are the same in both.
    What a layer keeps of a training step, such as batch normalization's running statistics, comes of the
    first.

    Parameters
    ----------
    loss : symbolic scalar
        The loss.
    params : list of shared variables
        The parameters.
    radius : float or symbolic scalar, default 0.05
        How far away the point lies (the papers' rho), at least 0. With `adaptive`, some ten times larger
        values are usual: the paper takes 0.5 and 1.
    adaptive : bool, default False
        Whether the neighbourhood is scaled to the parameters.
    eta : float or symbolic scalar, default 0.01
        Added to the size of each element, of use with `adaptive` alone; at least 0.

    Returns
    -------
    list of symbolic expressions
        One gradient for each parameter.

    Raises
    ------
    ValueError
        As `get_gradients` does; a list of gradients does not do in place of the loss.

    References
    ----------
    Foret, Kleiner, Mobahi and Neyshabur (2021), Sharpness-aware minimization for efficiently improving
    generalization. ICLR. arXiv:2010.01412. Kwon, Kim, Park and Choi (2021), ASAM: adaptive sharpness-aware
    minimization for scale-invariant learning of deep neural networks. ICML. arXiv:2102.11600.
    """
    if isinstance(loss, (list, tuple)):
        raise ValueError("sharpness_aware needs the loss itself; gradients alone do not do")
    parameters = check_parameters(params)
    gradients = get_gradients(loss, parameters)
    elsewhere = [
        parameter + tensor.cast(change, parameter.dtype)
        for parameter, change in zip(
            parameters, _ascent(parameters, gradients, radius, adaptive, eta), strict=True
        )
    ]
    # The gradient is taken by plain variables, which then give way to the points: Theano copies what it puts
    # in a variable's place, so that no gradient could be taken by the points themselves.
    variables = [parameter.type() for parameter in parameters]
    moved = theano.clone(loss, replace=dict(zip(parameters, variables, strict=True)))
    there: list[Expression] = theano.grad(moved, variables)
    replaced: list[Expression] = theano.clone(there, replace=dict(zip(variables, elsewhere, strict=True)))
    return replaced


def _ascent(
    parameters: list[Any],
    gradients: list[Expression],
    radius: Expression,
    adaptive: bool,
    eta: Expression,
) -> list[Expression]:
    dtype = arithmetic_dtype(*(parameter.dtype for parameter in parameters))
    directions = [tensor.cast(gradient, dtype) for gradient in gradients]
    sizes = [tensor.constant(1, dtype=dtype)] * len(parameters)
    if adaptive:
        offset = as_scalar("eta", eta, dtype)
        sizes = [abs(tensor.cast(parameter, dtype)) + offset for parameter in parameters]
        directions = [size * direction for size, direction in zip(sizes, directions, strict=True)]
    squares = [tensor.sum(tensor.sqr(direction)) for direction in directions]
    # At a gradient of 0 there is no direction, and no step.
    norm = tensor.maximum(tensor.sqrt(sum(squares, tensor.zeros((), dtype))), as_scalar("tiny", _TINY, dtype))
    length = as_scalar("radius", radius, dtype) / norm
    return [length * size * direction for size, direction in zip(sizes, directions, strict=True)]
