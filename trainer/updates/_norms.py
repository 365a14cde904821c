"""Bounds on gradients and parameters: by value, by a tensor's norm, by the norm of all tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from theano import tensor

from ._definition import Expression
from ._parameters import Updates, arithmetic_dtype, as_scalar, check_parameters, name_of


def norm_constraint(
    tensor_var: Expression,
    max_norm: Expression,
    norm_axes: Sequence[int] | None = None,
    epsilon: Expression = 1e-7,
) -> Expression:
    """Scale a tensor down where its L2 norms over some axes exceed a maximum.

    With n the L2 norm over `norm_axes`, kept as dimensions of length 1::

        x * clip(n, 0, max_norm) / (epsilon + n)

    Parameters
    ----------
    tensor_var : symbolic expression
        The tensor x: a parameter's update, or anything else.
    max_norm : float or symbolic scalar
        The largest norm, above 0.
    norm_axes : sequence of int, optional
        The axes that one norm is taken over. By default what enters one unit: axis 0 for matrices of
        inputs by units; all but axis 0 for 3-D, 4-D and 5-D tensors of convolution filters.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.

    Returns
    -------
    symbolic expression
        The scaled tensor, of the type of `tensor_var`.

    Raises
    ------
    ValueError
        Where `tensor_var` has another number of dimensions than 2 to 5 and `norm_axes` is omitted.

    Examples
    --------
    >>> from theano import tensor
    >>> norm_constraint(tensor.constant([[3.0], [4.0]]), max_norm=1.0).eval().round(3)
    array([[0.6],
           [0.8]])
    """
    given = tensor.as_tensor_variable(tensor_var)
    axes = _default_axes(given) if norm_axes is None else tuple(norm_axes)
    dtype = arithmetic_dtype(given.dtype)
    wide = tensor.cast(given, dtype)
    norm = tensor.sqrt(tensor.sum(tensor.sqr(wide), axis=axes, keepdims=True))
    return tensor.cast(wide * _scale(norm, max_norm, epsilon, dtype), given.dtype)


def total_norm_constraint(
    tensor_vars: Sequence[Expression],
    max_norm: Expression,
    epsilon: Expression = 1e-7,
    return_norm: bool = False,
) -> list[Expression] | tuple[list[Expression], Expression]:
    """Scale several tensors down together where the L2 norm of all of them exceeds a maximum.

    With n the root of the sum of all squares in all tensors, each tensor x becomes::

        x * clip(n, 0, max_norm) / (epsilon + n)

    Put to gradients, it bounds the size of a step and keeps its direction, as recurrent networks need.

    Parameters
    ----------
    tensor_vars : list of symbolic expressions
        The tensors, gradients above all.
    max_norm : float or symbolic scalar
        The largest norm, above 0.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.
    return_norm : bool, default False
        Whether to give the norm as well.

    Returns
    -------
    list of symbolic expressions
        The scaled tensors, each of its own type; with `return_norm` the pair of that list and the scalar n
        before scaling.

    References
    ----------
    Sutskever, Vinyals and Le (2014), Sequence to sequence learning with neural networks. NIPS 27, 3104-3112.
    """
    given = [tensor.as_tensor_variable(variable) for variable in tensor_vars]
    dtype = arithmetic_dtype(*(variable.dtype for variable in given))
    squares = [tensor.sum(tensor.sqr(tensor.cast(variable, dtype))) for variable in given]
    norm = tensor.sqrt(sum(squares, tensor.zeros((), dtype)))
    scale = _scale(norm, max_norm, epsilon, dtype)
    scaled = [tensor.cast(variable * scale, variable.dtype) for variable in given]
    return (scaled, norm) if return_norm else scaled


def clip_by_norm(
    gradients: Sequence[Expression], max_norm: Expression, epsilon: Expression = 1e-7
) -> list[Expression]:
    """Scale each gradient down where its own L2 norm exceeds a maximum.

    With n the L2 norm of one gradient g over all its elements::

        g <- g * clip(n, 0, max_norm) / (epsilon + n)

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    max_norm : float or symbolic scalar
        The largest norm of each, above 0.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.

    Returns
    -------
    list of symbolic expressions
        The clipped gradients, each of its own type.

    See Also
    --------
    total_norm_constraint : Keeps the direction of the whole step.
    """
    given = [tensor.as_tensor_variable(gradient) for gradient in gradients]
    return [norm_constraint(variable, max_norm, range(variable.ndim), epsilon) for variable in given]


def clip_by_value(gradients: Sequence[Expression], max_value: Expression) -> list[Expression]:
    """Bring each element of each gradient between ``-max_value`` and ``max_value``.

    Parameters
    ----------
    gradients : list of symbolic expressions
        The gradients.
    max_value : float or symbolic scalar
        The largest size of an element, above 0.

    Returns
    -------
    list of symbolic expressions
        The clipped gradients, each of its own type.

    Examples
    --------
    >>> from theano import tensor
    >>> [clipped] = clip_by_value([tensor.constant([-3.0, 0.5])], max_value=1.0)
    >>> clipped.eval()
    array([-1. ,  0.5])
    """
    clipped = []
    for gradient in gradients:
        given = tensor.as_tensor_variable(gradient)
        bound = as_scalar("max_value", max_value, given.dtype)
        clipped.append(tensor.clip(given, -bound, bound))
    return clipped


def max_norm_constraint(
    updates: Mapping[Any, Expression],
    params: Sequence[Any],
    max_norm: Expression,
    epsilon: Expression = 1e-7,
) -> Updates:
    """Bound what enters each unit of a network: `norm_constraint` on the updates of weights.

    Parameters
    ----------
    updates : mapping
        Shared variables with their updates, from any rule. It is left as it was.
    params : list of shared variables
        The parameters. Those of two or more dimensions are bounded over the default axes of
        `norm_constraint`; vectors and scalars, such as biases, are left as they are.
    max_norm : float or symbolic scalar
        The largest L2 norm of the weights that enter a unit, above 0.
    epsilon : float or symbolic scalar, default 1e-7
        Added to the norm, against division by zero.

    Returns
    -------
    OrderedDict
        A copy of `updates` in which those parameters are bounded.

    Raises
    ------
    ValueError
        For a parameter that `updates` lacks, that is no shared floating-point tensor or is given twice, and
        for one of more than five dimensions.
    """
    constrained: Updates = OrderedDict(updates)
    for index, parameter in enumerate(check_parameters(params)):
        if parameter not in updates:
            raise ValueError(f"updates has nothing for {name_of(parameter, index)}, which params names")
        if parameter.ndim >= 2:
            constrained[parameter] = norm_constraint(updates[parameter], max_norm, epsilon=epsilon)
    return constrained


def _default_axes(given: Expression) -> tuple[int, ...]:
    if given.ndim == 2:
        return (0,)
    if given.ndim in (3, 4, 5):
        return tuple(range(1, given.ndim))
    raise ValueError(
        f"Unsupported tensor dimensionality {given.ndim} of {name_of(given)}: "
        "only 2 to 5 dimensions have default axes; give norm_axes"
    )


def _scale(norm: Expression, max_norm: Expression, epsilon: Expression, dtype: str) -> Expression:
    bound = as_scalar("max_norm", max_norm, dtype)
    return tensor.clip(norm, as_scalar("zero", 0, dtype), bound) / (
        as_scalar("epsilon", epsilon, dtype) + norm
    )
